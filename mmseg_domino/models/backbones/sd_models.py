"""Finding and building the parts of a latent diffusion model.

Weights come from a diffusers folder, from a model of the Hugging Face hub (its cache when
offline), from an original single file, or from nowhere if random ones are asked for.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import Tensor, nn

from .sd_single_file import (
    TAIL,
    as_diffusers_config,
    check_other_keys,
    convert_unet,
    convert_vae,
    infer_architecture,
    is_single_file,
    load_checked,
    read_single_file,
    text_tower_weights,
)

__all__ = ["ARCHITECTURES", "build_models", "encode_classes", "expand_path"]

_SD15_UNET = dict(
    sample_size=64,
    in_channels=4,
    out_channels=4,
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    block_out_channels=(320, 640, 1280, 1280),
    layers_per_block=2,
    cross_attention_dim=768,
    attention_head_dim=8,
)
#: Stable Diffusion 2.x: open_clip's ViT-H/14 as text tower, heads of 64 channels.
_SD21_UNET = dict(
    _SD15_UNET,
    cross_attention_dim=1024,
    attention_head_dim=(5, 10, 20, 20),
    use_linear_projection=True,
)
_SD_VAE = dict(
    sample_size=512,
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(128, 256, 512, 512),
    layers_per_block=2,
    latent_channels=4,
    scaling_factor=0.18215,
)
#: Named architectures for random weights: arguments of diffusers' UNet and autoencoder.
ARCHITECTURES = {
    "sd15": dict(unet=_SD15_UNET, vae=_SD_VAE),
    "sd21": dict(unet=_SD21_UNET, vae=_SD_VAE),
}

#: CLIP's context in VPD's class embeddings; longer class names are cut.
_MAX_LENGTH = 20


def _missing(weights: str, part: str, cause: Exception) -> FileNotFoundError:
    path = Path(weights)
    if path.is_dir():
        found = sorted(p.name for p in path.iterdir())
        return FileNotFoundError(
            f"the folder {weights} has no usable `{part}`: a diffusers model has the subfolders "
            f"unet, vae, text_encoder and tokenizer; found {found} ({cause})"
        )
    return FileNotFoundError(
        f"the {part} of {weights!r} is neither a local folder nor in the Hugging Face cache, and "
        f"could not be fetched ({type(cause).__name__}). On a machine with a network run\n"
        f"    huggingface-cli download {weights} --include 'unet/*' 'vae/*' 'text_encoder/*' "
        "'tokenizer/*'\n"
        "then copy the cache (HF_HOME, by default ~/.cache/huggingface) and set HF_HUB_OFFLINE=1; "
        "or give the path of a diffusers folder."
    )


def _load(model_class, weights: str, part: str, **kwargs):
    try:
        return model_class.from_pretrained(str(weights), subfolder=part, **kwargs)
    except SafetensorError as error:
        raise _damaged(weights, part, error) from error
    except (OSError, HFValidationError, LocalEntryNotFoundError) as error:
        # diffusers wraps the parser's error, and then asks whether Git LFS is installed.
        if isinstance(error.__cause__ or error.__context__, SafetensorError):
            raise _damaged(weights, part, error) from error
        raise _missing(str(weights), part, error) from error


def _damaged(weights: str, part: str, cause: Exception) -> ValueError:
    return ValueError(
        f"a safetensors file of {weights}, {part}, is not complete ({cause}); it was probably not "
        "downloaded to the end: fetch it again"
    )


def _architecture(architecture: str | Mapping | None, part: str) -> dict:
    """Arguments of diffusers' class for a part, from a name, a JSON file or a dict."""
    if isinstance(architecture, str) and architecture.endswith(".json"):
        path = Path(expand_path(architecture))
        if not path.is_file():
            raise FileNotFoundError(f"there is no architecture file at {path}")
        architecture = json.loads(path.read_text(encoding="utf-8"))
    elif isinstance(architecture, str):
        if architecture not in ARCHITECTURES:
            raise ValueError(
                f"unknown architecture {architecture!r}; valid ones are "
                f"{', '.join(ARCHITECTURES)}, a JSON file, or a dict with the arguments of `unet` "
                "and `vae`"
            )
        architecture = ARCHITECTURES[architecture]
    if architecture is None or part not in architecture:
        raise ValueError(
            f"weights='random' needs `architecture`: one of {', '.join(ARCHITECTURES)}, or a dict "
            "with the arguments of diffusers' (or LDM's) `unet` and `vae`; got "
            f"{architecture!r}"
        )
    return as_diffusers_config(architecture, part)


def _from_single_file(
    model_class: type, path: str, state: Mapping[str, Tensor], architecture, part: str
):
    config = _architecture(architecture or infer_architecture(state, path), part)
    convert = convert_unet if part == "unet" else convert_vae
    tensors = convert(state, config, path)
    # Built without memory; every parameter that is kept comes from the file.
    with torch.device("meta"):
        model = model_class(**config)
    load_checked(model, tensors, path, part)
    return model


def build_models(
    weights: str, architecture: str | Mapping | None = None
) -> tuple[UNet2DConditionModel, AutoencoderKL]:
    """The UNet and the autoencoder of a latent diffusion model, without what VPD never runs.

    The UNet comes without its last norm and convolution, the autoencoder without its decoder.

    Args:
        weights: A diffusers folder, a hub name, an original single file (``.safetensors``,
            ``.ckpt``), or ``"random"``.
        architecture: For random weights and for single files of other sizes than the published:
            a name in :data:`ARCHITECTURES`, or a dict or JSON file with ``unet`` and ``vae``,
            either diffusers' arguments or LDM's.

    Returns:
        Both in float32.

    Raises:
        FileNotFoundError: If the weights are not to be had; says how to get them.
        ValueError: If they are damaged or of a model of another kind: VPD reads four levels,
            latents of four channels, no added conditions.
    """
    if is_single_file(weights):
        state = read_single_file(weights)
        check_other_keys(state, weights)
        unet = _from_single_file(UNet2DConditionModel, weights, state, architecture, "unet")
        vae = _from_single_file(AutoencoderKL, weights, state, architecture, "vae")
    elif weights == "random":
        unet = UNet2DConditionModel(**_architecture(architecture, "unet"))
        vae = AutoencoderKL(**_architecture(architecture, "vae"))
    else:
        unet = _load_model(UNet2DConditionModel, weights, "unet")
        vae = _load_model(AutoencoderKL, weights, "vae")
    _check_unet(unet, weights)
    unet.conv_norm_out = unet.conv_act = unet.conv_out = None
    vae.decoder = vae.post_quant_conv = None
    return unet, vae


def _load_model(model_class: type, weights: str, part: str):
    """Load from a diffusers folder or the hub; diffusers itself only warns of missing keys."""
    model, info = _load(model_class, weights, part, output_loading_info=True)
    missing = sorted(k for k in info["missing_keys"] if not k.startswith(TAIL[part]))
    unexpected = sorted(info["unexpected_keys"])
    if missing or unexpected:
        raise ValueError(
            f"{weights}, {part}: {len(missing)} keys missing {missing[:3]}, {len(unexpected)} "
            f"unexpected {unexpected[:3]}; its weights do not belong to its config.json"
        )
    return model.float()


def _check_unet(unet: UNet2DConditionModel, weights: str) -> None:
    config = unet.config
    problems = []
    if config.in_channels != 4:
        problems.append(f"it takes {config.in_channels} channels, not 4 (an inpainting model?)")
    if len(config.block_out_channels) != 4:
        problems.append(f"it has {len(config.block_out_channels)} levels, not 4 (SDXL?)")
    if config.addition_embed_type is not None:
        problems.append(f"it wants added conditions ({config.addition_embed_type}; SDXL?)")
    if problems:
        raise ValueError(
            f"the UNet of {weights!r} does not fit: {'; '.join(problems)}. Use a Stable Diffusion "
            "1.x or 2.x text-to-image model."
        )


@torch.no_grad()
def encode_classes(weights: str, classes: Sequence[str]) -> Tensor:
    """Class embeddings as VPD makes them: the text tower's state, averaged over templates.

    The state is the last hidden one at the end-of-text token, after the final norm and before any
    projection, unnormalised, over CLIP's 80 ImageNet templates.

    Args:
        weights: A diffusers folder or hub name with ``text_encoder`` and ``tokenizer``, or an
            original single file of Stable Diffusion 1.x.
        classes: ``N`` class names.

    Returns:
        ``(N, D)`` float32.
    """
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    tower, tokenize = _text_tower(weights)
    embeddings = []
    for name in classes:
        prompts = [template(name) for template in OPENAI_IMAGENET_TEMPLATES]
        embeddings.append(tower(input_ids=tokenize(prompts)).pooler_output.float().mean(dim=0))
    return torch.stack(embeddings)


def _text_tower(weights: str) -> tuple[nn.Module, Callable[[list[str]], Tensor]]:
    from transformers import CLIPTextModel, CLIPTokenizer

    if is_single_file(weights):
        return _single_file_tower(weights)
    tokenizer = _load(CLIPTokenizer, weights, "tokenizer")
    length = min(_MAX_LENGTH, tokenizer.model_max_length)

    def tokenize(prompts: list[str]) -> Tensor:
        return tokenizer(
            prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).input_ids

    return _load(CLIPTextModel, weights, "text_encoder").eval(), tokenize


def _single_file_tower(weights: str) -> tuple[nn.Module, Callable[[list[str]], Tensor]]:
    """Single files bring the tower but no vocabulary; open_clip's is the same one."""
    from open_clip import SimpleTokenizer
    from transformers import CLIPTextConfig, CLIPTextModel

    state = text_tower_weights(read_single_file(weights), weights)
    vocabulary, width = state["embeddings.token_embedding.weight"].shape
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=len(state["encoder.layers.0.mlp.fc1.weight"]),
        num_hidden_layers=1 + max(int(k.split(".")[2]) for k in state if ".layers." in k),
        num_attention_heads=width // 64,
        max_position_embeddings=len(state["embeddings.position_embedding.weight"]),
        projection_dim=width,
    )
    tower = CLIPTextModel(config).eval()
    if next(iter(tower.state_dict())).startswith("text_model."):  # transformers before 5
        state = {f"text_model.{key}": value for key, value in state.items()}
    tower.load_state_dict({k: v.float() for k, v in state.items()})
    return tower, SimpleTokenizer(context_length=_MAX_LENGTH)


def expand_path(weights: str) -> str:
    """``~`` and variables of the environment in a path replaced; hub names stay as they are."""
    return os.path.expandvars(os.path.expanduser(weights))
