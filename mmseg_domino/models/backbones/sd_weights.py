"""Finding and building the parts of a latent diffusion model.

Weights come from a diffusers folder, from a model of the Hugging Face hub (its cache when
offline), or from nowhere if random ones are asked for.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from torch import Tensor

__all__ = ["ARCHITECTURES", "build_unet", "build_vae", "encode_classes"]

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
ARCHITECTURES = {"sd15": dict(unet=_SD15_UNET, vae=_SD_VAE)}

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
    except (OSError, ValueError, HFValidationError, LocalEntryNotFoundError) as error:
        raise _missing(str(weights), part, error) from error


def _architecture(architecture: str | Mapping | None, part: str) -> dict:
    if isinstance(architecture, str):
        if architecture not in ARCHITECTURES:
            raise ValueError(
                f"unknown architecture {architecture!r}; valid ones are "
                f"{', '.join(ARCHITECTURES)}, or a dict with the arguments of `unet` and `vae`"
            )
        architecture = ARCHITECTURES[architecture]
    if architecture is None or part not in architecture:
        raise ValueError(
            f"weights='random' needs `architecture`: one of {', '.join(ARCHITECTURES)}, or a dict "
            f"with the arguments of diffusers' `unet` and `vae`; got {architecture!r}"
        )
    return dict(architecture[part])


def build_unet(weights: str, architecture: str | Mapping | None = None) -> UNet2DConditionModel:
    """The UNet of a latent diffusion model.

    Args:
        weights: A diffusers folder, a hub name, or ``"random"``.
        architecture: For random weights; see :data:`ARCHITECTURES`.

    Raises:
        FileNotFoundError: If the weights are not to be had; says how to get them.
        ValueError: If the UNet is not of the kind that VPD reads: four levels, latents of four
            channels, no added conditions.
    """
    if weights == "random":
        unet = UNet2DConditionModel(**_architecture(architecture, "unet"))
    else:
        unet = _load(UNet2DConditionModel, weights, "unet")
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
    return unet


def build_vae(weights: str, architecture: str | Mapping | None = None) -> AutoencoderKL:
    """The autoencoder of a latent diffusion model; see :func:`build_unet`."""
    if weights == "random":
        return AutoencoderKL(**_architecture(architecture, "vae"))
    return _load(AutoencoderKL, weights, "vae")


@torch.no_grad()
def encode_classes(weights: str, classes: Sequence[str]) -> Tensor:
    """Class embeddings as VPD makes them: the text tower's state, averaged over templates.

    The state is the last hidden one at the end-of-text token, after the final norm and before any
    projection, unnormalised, over CLIP's 80 ImageNet templates.

    Args:
        weights: A diffusers folder or hub name with ``text_encoder`` and ``tokenizer``.
        classes: ``N`` class names.

    Returns:
        ``(N, D)`` float32.
    """
    from open_clip import OPENAI_IMAGENET_TEMPLATES
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = _load(CLIPTokenizer, weights, "tokenizer")
    tower = _load(CLIPTextModel, weights, "text_encoder").eval()
    length = min(_MAX_LENGTH, tokenizer.model_max_length)
    embeddings = []
    for name in classes:
        prompts = [template(name) for template in OPENAI_IMAGENET_TEMPLATES]
        tokens = tokenizer(
            prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        embeddings.append(tower(input_ids=tokens.input_ids).pooler_output.float().mean(dim=0))
    return torch.stack(embeddings)


def expand_path(weights: str) -> str:
    """``~`` and variables of the environment in a path replaced; hub names stay as they are."""
    return os.path.expandvars(os.path.expanduser(weights))
