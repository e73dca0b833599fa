"""CLIP's text towers, wherever they come from: what turns prompts into the context space.

A prompt's state is that of the tower at the end-of-text token, after the final norm and before any
projection, unnormalised; of Stable Diffusion 2.x's tower, that of the layer before the last.

Shapes: ``P`` prompts, ``D`` width of the text tower (the context space).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint
from torch import Tensor, nn

from ...domain.encoder_weights import hash_weights
from ...domain.prompts import cut_prompts
from .files import read_state_dict
from .original_layout import OPEN_CLIP_PREFIX, TEXT_PREFIX, convert_open_clip_text
from .weights import FolderWeights, OriginalWeights, WeightSource, expand_path, weight_variant

#: Tokens of a prompt, start and end included. VPD: 20. A longer one is warned of.
MAX_LENGTH = 20
_OPEN_CLIP = "open_clip:"
#: CLIP ViT-L/14's text tower, in every original Stable Diffusion 1.x checkpoint.
_CLIP_L = dict(
    hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
    hidden_act="quick_gelu", projection_dim=768, pad_token_id=49407,
)  # fmt: skip
#: open_clip's ViT-H/14 in those of 2.x, without its last layer: the UNet was trained on the output
#: of the one before.
_CLIP_H = dict(
    hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16,
    hidden_act="gelu", projection_dim=1024, pad_token_id=49407,
)  # fmt: skip


@dataclass(frozen=True)
class TextTower:
    """What turns ``P`` prompts into states of the context space: ``tower(prompts)``, ``(P, D)``.

    Attributes:
        name: Of its model.
        max_length: Tokens of a prompt, start and end included; further ones are cut off.
        tokenize: Gives token numbers ``(P, length)``, cut or filled to a length.
        states: Gives the states, float32.
        sha256: Gives the hash of its weights.
    """

    name: str
    max_length: int
    tokenize: Callable[[Sequence[str], int], Tensor]
    states: Callable[[Sequence[str]], Tensor]
    sha256: Callable[[], str]

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        return self.states(prompts)

    def cut(self, prompts: Sequence[str]) -> list[str]:
        """Those of the prompts that are longer than ``max_length``."""
        return cut_prompts(self.tokenize, prompts, self.max_length)


def _transformers_tower(name: str, tower: nn.Module, tokenize, max_length: int) -> TextTower:
    tower.eval()

    @torch.no_grad()
    def states(prompts: Sequence[str]) -> Tensor:
        return tower(input_ids=tokenize(prompts, max_length)).pooler_output.float()

    return TextTower(name, max_length, tokenize, states, lambda: hash_weights(tower.state_dict()))


def _open_clip_tower(model: str, pretrained: str | None) -> TextTower:
    """The text tower of an open_clip model: its states are those of ``DomainEncoder``."""
    from ...domain.encoder import DomainEncoder

    encoder = DomainEncoder(model, **({"pretrained": pretrained} if pretrained else {}))
    layer = "" if encoder.context_layer == -1 else f":{encoder.context_layer}"
    return TextTower(
        f"{_OPEN_CLIP}{model}{f':{pretrained}' if pretrained else ''}",
        int(encoder.tokenizer.context_length),
        encoder.tokenizer,
        lambda prompts: encoder.encode_text(prompts, truncate=True)[1],
        lambda: encoder.weights_sha256 + layer,
    )


def _folder_tower(source: FolderWeights) -> TextTower:
    from transformers import CLIPTextModel, CLIPTokenizer

    folder, vocabulary = source.part("text_encoder"), source.part("tokenizer")
    variant = weight_variant(folder, "model", "pytorch_model")
    tokenizer = CLIPTokenizer.from_pretrained(vocabulary, local_files_only=True)
    tower, info = CLIPTextModel.from_pretrained(
        folder, local_files_only=True, output_loading_info=True, variant=variant
    )
    tower = tower.float()  # transformers 5 keeps the file's precision
    absent = sorted(map(str, (*info["missing_keys"], *info["mismatched_keys"])))
    absent = [key for key in absent if not key.endswith("position_ids")]
    if absent:
        raise ValueError(
            f"the weights in {folder} are not those of a CLIP text tower: {len(absent)} keys are "
            f"missing or of another shape, the first: {', '.join(absent[:4])}"
        )

    max_length = min(MAX_LENGTH, tokenizer.model_max_length)

    def tokenize(prompts: Sequence[str], length: int) -> Tensor:
        return tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        ).input_ids

    return _transformers_tower(f"{source.name}/text_encoder", tower, tokenize, max_length)


def _original_tower(path: str) -> TextTower:
    """The text tower inside an original file; its tokeniser comes with open_clip."""
    from open_clip import SimpleTokenizer
    from transformers import CLIPTextConfig, CLIPTextModel

    prefixes = (TEXT_PREFIX, OPEN_CLIP_PREFIX)
    state = read_state_dict(path, lambda key: key.startswith(prefixes))
    of_open_clip = any(key.startswith(OPEN_CLIP_PREFIX) for key in state)
    config = _CLIP_H if of_open_clip else _CLIP_L
    last = ("ln_final.bias", "final_layer_norm.bias")
    width = next((len(value) for key, value in state.items() if key.endswith(last)), 0)
    if width != config["hidden_size"]:
        raise ValueError(
            f"{path} holds no text tower of Stable Diffusion 1.x (keys that begin with "
            f"{TEXT_PREFIX}, 768 wide) or 2.x ({OPEN_CLIP_PREFIX}, 1024 wide), so class names "
            "cannot be embedded with it. Give `text_encoder` (a diffusers folder, or "
            "open_clip:ViT-L-14:openai) or `class_embeddings`."
        )
    tower = CLIPTextModel(CLIPTextConfig(**config))
    if of_open_clip:
        state = convert_open_clip_text(state, tower)
    else:
        state = convert_ldm_clip_checkpoint(state)
    state = {k: v for k, v in state.items() if not k.endswith("position_ids")}
    # transformers 5 dropped the prefix that original files have.
    own = {k for k in tower.state_dict() if not k.endswith("position_ids")}
    if not any(key.startswith("text_model.") for key in own):
        state = {k.removeprefix("text_model."): v for k, v in state.items()}
    if set(state) != own:
        raise ValueError(
            f"the text tower in {path} does not fit: missing {sorted(own - set(state))[:4]}, "
            f"unexpected {sorted(set(state) - own)[:4]}"
        )
    tower.load_state_dict(state, strict=False)
    tokenizer = SimpleTokenizer()

    def tokenize(prompts: Sequence[str], length: int) -> Tensor:
        tokens = tokenizer(list(prompts), length)
        # open_clip fills with 0, which is a word; transformers looks for the first end token.
        end = tower.config.eos_token_id
        return tokens.masked_fill((tokens == end).cumsum(dim=1) > 0, end)

    return _transformers_tower(path, tower, tokenize, MAX_LENGTH)


def open_text_tower(text_encoder: str | None, source: WeightSource | None = None) -> TextTower:
    """The text tower that embeds class names.

    Args:
        text_encoder: A diffusers folder or hub name with ``text_encoder`` and ``tokenizer``,
            ``"open_clip:MODEL:PRETRAINED"`` (or ``"open_clip:FOLDER"``), or None for that of the
            diffusion weights.
        source: The diffusion weights; not needed with ``text_encoder``.

    Raises:
        ValueError: If there is none.
        FileNotFoundError: If it is missing; says how to get it.
    """
    if text_encoder is None:
        if isinstance(source, FolderWeights):
            return _folder_tower(source)
        if isinstance(source, OriginalWeights):
            return _original_tower(source.name)
        name = "no" if source is None else source.name
        raise ValueError(f"{name} weights have no text tower; give `text_encoder`")
    if text_encoder.startswith(_OPEN_CLIP):
        # A folder may be given with open_clip's own prefix, which has a colon, too.
        name = text_encoder.removeprefix(_OPEN_CLIP).removeprefix("local-dir:")
        model, _, pretrained = name.partition(":")
        return _open_clip_tower(expand_path(model), pretrained or None)
    return _folder_tower(FolderWeights(expand_path(text_encoder)))
