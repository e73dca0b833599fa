"""CLIP as the extractor of domain embeddings.

Shapes: ``B`` images, ``P`` prompts, ``K`` domains, ``E`` width of the joint space, ``D`` width of
the text tower (the context space), ``H W`` an image's size, ``S`` the encoder's input size.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ..version import __version__
from .encoder_weights import RANDOM, brings_weights, hash_weights, load_clip
from .maker import context_layer as find_context_layer
from .preprocessing import preprocess_tensor
from .prompts import PromptBank, cut_prompts, load_prompt_bank
from .sources import DomainText, EmbeddingSource

_PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class DomainEncoder(nn.Module):
    """Image -> domain scores and joint image embedding, by CLIP and a prompt bank.

    The module is frozen: in evaluation mode and without gradients, always.

    Args:
        model: An open_clip model name (``open_clip.list_models()``), ``hf-hub:ORG/REPO``, a folder
            in open_clip's format (``open_clip_config.json`` and ``open_clip_model.safetensors``;
            the prefix ``local-dir:`` may be given), or the path of a config JSON file. The
            default is the text tower of Stable Diffusion 1.x.
        pretrained: For a name, one of its open_clip tags or the path of a checkpoint; for a JSON
            file, the path of a checkpoint. Folders and ``hf-hub:`` bring their own. ``'random'``,
            with any of them, asks for random weights.
        bank: A prompt bank: name, path or :class:`~mmseg_domino.domain.prompts.PromptBank`.
        precision: Of the image tower's arithmetic: ``'fp32'``, ``'bf16'`` or ``'fp16'``. Text is
            always embedded in float32.
        seed: Of random weights.
        cache_dir: Where open_clip keeps what it fetches; ``None`` for its default.
        context_layer: Of the text tower, whose state is the context space: -1 for the last, -2 for
            the one before. ``None``: -2 for ViT-H-14, as Stable Diffusion 2.x has it, else -1.

    Raises:
        MissingWeightsError: If the weights are missing and cannot be fetched. With
            ``HF_HUB_OFFLINE=1`` nothing is fetched. The message has the command that fetches them.
        ValueError: If the model, tag, bank or precision is unknown; the message lists those known.
    """

    def __init__(
        self,
        model: str = "ViT-L-14",
        pretrained: str = "openai",
        bank: str | Path | PromptBank = "acdc",
        precision: str = "fp32",
        seed: int = 0,
        cache_dir: str | None = None,
        context_layer: int | None = None,
    ) -> None:
        super().__init__()
        if precision not in _PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(_PRECISIONS)}, got {precision}")
        self.bank = load_prompt_bank(bank)
        self.model_name, self.precision = str(model), precision
        own = pretrained != RANDOM and brings_weights(self.model_name)
        #: The tag or checkpoint of the weights, ``'random'``, or None where the model brings them.
        self.pretrained: str | None = None if own else str(pretrained)
        self.context_layer = find_context_layer(self.model_name, context_layer)
        self.clip, self.tokenizer = load_clip(self.model_name, pretrained, seed, cache_dir)
        #: open_clip's description of the image preprocessing: size, mean, std, interpolation, ...
        self.preprocessing: dict = open_clip.get_model_preprocess_cfg(self.clip)
        #: :meth:`prepare` as a picklable callable on a Pillow image, for worker processes.
        self.transform = image_transform_v2(PreprocessCfg(**self.preprocessing), is_train=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "DomainEncoder":
        """Stay in evaluation mode, also inside a model that is trained."""
        return super().train(False)

    @cached_property
    def text(self) -> DomainText:
        """Text embeddings of the bank on the CPU, computed on first use."""
        joint, context = [], []
        for domain in self.bank.domains:
            domain_joint, domain_context = self.encode_text(domain.prompts)
            joint.append(F.normalize(domain_joint.mean(dim=0), dim=-1))
            context.append(domain_context.mean(dim=0))
        scale = float(self.clip.logit_scale.detach().exp())
        tables = (torch.stack(rows).cpu() for rows in (joint, context))
        return DomainText(self.bank.keys, *tables, scale)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str], truncate: bool = False) -> tuple[Tensor, Tensor]:
        """Embed prompts in both spaces.

        Args:
            prompts: ``P`` sentences.
            truncate: Leave out what is beyond the tower's length (77 tokens), instead of refusing.

        Returns:
            joint ``(P, E)`` of norm 1, and context ``(P, D)``: the state of ``context_layer`` at
            the end-of-text token after the final norm; of the last layer it is what transformers
            calls ``pooler_output``.

        Raises:
            ValueError: If a prompt is longer than the tower reads; names it.
        """
        tower = self.clip.text if hasattr(self.clip, "text") else self.clip
        name = next((n for n in ("text_projection", "proj") if hasattr(tower, n)), None)
        if name is None:
            raise ValueError(
                f"the text tower {type(tower).__name__} of {self.model_name} has no projection "
                "that is known here, so its context space is not defined"
            )
        if not truncate:
            self._check_length(prompts)
        tokens = self.tokenizer(list(prompts)).to(self.device)
        with torch.autocast(self.device.type, enabled=False):
            joint = self.clip.encode_text(tokens, normalize=True).float()
            with _without_projection(tower, name), _up_to_layer(tower, self.context_layer):
                context = self.clip.encode_text(tokens).float()
        return joint, context

    def prepare(self, image: np.ndarray) -> Tensor:
        """Preprocess one decoded image exactly as open_clip does.

        Args:
            image: RGB ``(H, W, 3)`` uint8.

        Returns:
            ``(3, S, S)`` float32 on the CPU.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"expected an RGB image (H, W, 3) of type uint8, got {image.shape} {image.dtype}"
            )
        return self.transform(Image.fromarray(np.ascontiguousarray(image)))

    @torch.no_grad()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Embed preprocessed images ``(B, 3, S, S)``: ``(B, E)`` float32 of norm 1."""
        dtype = _PRECISIONS[self.precision]
        kind = self.device.type
        pixels = pixels.to(self.device, torch.float32, non_blocking=True)
        # The caller's autocast must not decide the precision: scores would depend on the run.
        with torch.autocast(kind, dtype=dtype, enabled=dtype is not None):
            features = self.clip.encode_image(pixels)
        return F.normalize(features.float(), dim=-1)

    def encode_raw(self, images: Sequence[Tensor]) -> Tensor:
        """Embed images that are tensors already, preprocessing them on the encoder's device.

        Args:
            images: ``B`` RGB tensors ``(3, H, W)`` with values 0 to 255; sizes may differ.

        Returns:
            ``(B, E)`` float32 of norm 1.
        """
        prepared = [preprocess_tensor(i.to(self.device), self.preprocessing) for i in images]
        return self.encode_pixels(torch.stack(prepared))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Scores ``(B, K)`` and joint image embeddings ``(B, E)`` of preprocessed images."""
        image = self.encode_pixels(pixels)
        return EmbeddingSource("soft", "joint")(image, self.text)[1], image

    @property
    def device(self) -> torch.device:
        return self.clip.logit_scale.device

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of all weights by name, shape and float32 value, whatever file they came from."""
        return hash_weights(self.clip.state_dict())

    def provenance(self) -> dict:
        """What embeddings made by this encoder depend on, as plain JSON values."""
        layer = {} if self.context_layer == -1 else {"context_layer": self.context_layer}
        return {
            "model": self.model_name,
            "pretrained": self.pretrained,
            **layer,
            "weights_sha256": self.weights_sha256,
            "bank": self.bank.name,
            "bank_sha256": self.bank.sha256,
            "templates": list(self.bank.templates),
            "prompts": {domain.key: list(domain.prompts) for domain in self.bank.domains},
            "preprocessing": json.loads(json.dumps(self.preprocessing)),
            "precision": self.precision,
        }

    @staticmethod
    def versions() -> dict[str, str]:
        """The versions of the software that embeds."""
        return {
            "mmseg_domino": __version__,
            "torch": torch.__version__,
            "open_clip": open_clip.__version__,
        }

    def _check_length(self, prompts: Sequence[str]) -> None:
        length = int(self.tokenizer.context_length)
        cut = cut_prompts(self.tokenizer, prompts, length)
        if cut:
            raise ValueError(
                f"the text tower of {self.model_name} reads {length} tokens and would leave out "
                f"the rest of {len(cut)} longer prompts, such as {cut[0]!r}; shorten them in the "
                f"prompt bank {self.bank.name!r}"
            )


@contextmanager
def _without_projection(tower: nn.Module, name: str) -> Iterator[None]:
    """Make open_clip's own pooling return the state before its projection."""
    projection = getattr(tower, name)
    setattr(tower, name, nn.Identity() if name == "proj" else None)
    try:
        yield
    finally:
        setattr(tower, name, projection)


@contextmanager
def _up_to_layer(tower: nn.Module, layer: int) -> Iterator[None]:
    """Leave out the layers behind one, which is counted from the last, -1."""
    if layer == -1:
        yield
        return
    transformer = getattr(tower, "transformer", None)
    blocks = getattr(transformer, "resblocks", None)
    if blocks is None or not 0 < -layer <= len(blocks):
        raise ValueError(
            f"context_layer={layer} does not exist: the text tower {type(tower).__name__} has "
            f"{'no layers that are known here' if blocks is None else f'{len(blocks)} layers'}"
        )
    transformer.resblocks = blocks[: layer + 1]
    try:
        yield
    finally:
        transformer.resblocks = blocks
