"""Reading the single files in which Stable Diffusion 1.x and 2.x were first published.

Their keys are those of CompVis' latent-diffusion code: ``model.diffusion_model.*`` (the UNet),
``first_stage_model.*`` (the autoencoder), ``cond_stage_model.*`` (the text tower). Diffusers' own
functions convert them; here is what they leave out: telling what does not fit.
"""

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from diffusers.loaders import single_file_utils
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

__all__ = [
    "TAIL",
    "as_diffusers_config",
    "check_other_keys",
    "convert_unet",
    "convert_vae",
    "infer_architecture",
    "is_single_file",
    "load_checked",
    "read_single_file",
    "text_tower_weights",
]

_UNET, _VAE, _TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
#: Beside the three parts, original checkpoints hold schedules and averages that nothing here reads.
_UNREAD = re.compile(
    r"(model_ema\.|cond_stage_model\.|first_stage_model\.loss\.|betas$|alphas_|sqrt_|posterior_|"
    r"log_one_minus|lvlb_weights$|logvar$|scale_factor$|global_step$|embedding_manager\.)"
)
#: Parameters that are never run, by part: a checkpoint may lack them, and they are not kept.
TAIL = {
    "unet": ("conv_norm_out.", "conv_out."),
    "vae": ("decoder.", "post_quant_conv."),
}


def is_single_file(weights: str) -> bool:
    """Whether ``weights`` names a file rather than a folder or a model of the hub."""
    return weights.endswith((".ckpt", ".safetensors", ".pt", ".pth", ".bin"))


def read_single_file(path: str | Path) -> dict[str, Tensor]:
    """The tensors of an original checkpoint.

    Pickles are read with ``weights_only=True``: nothing in them is executed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, half downloaded, or a pickle of more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights at {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(
                f"{path} ({path.stat().st_size:,} bytes) is no complete safetensors file "
                f"({error}); it was probably not downloaded to the end: fetch it again"
            ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise ValueError(_pickle_refused(path, error)) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path} is no complete PyTorch checkpoint ({error})") from error
    state = state.get("state_dict", state)
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _pickle_refused(path: Path, error: Exception) -> str:
    found = re.search(r"GLOBAL (\S+)", str(error))
    what = f"the object {found.group(1)}" if found else "something"
    return (
        f"{path} holds {what} beside tensors, and loading it would run code from the file; it was "
        "not loaded. Prefer a .safetensors file of the same model. If you trust the file, convert "
        "it once, in an environment you can spare:\n"
        "    python -c \"import torch, safetensors.torch as s; d = torch.load('"
        f"{path.name}', map_location='cpu', weights_only=False); d = d.get('state_dict', d); "
        "s.save_file({k: v.contiguous() for k, v in d.items() if torch.is_tensor(v)}, '"
        f"{path.stem}.safetensors')\""
    )


def infer_architecture(state: Mapping[str, Tensor], path: str) -> str:
    """Which of the published architectures an original checkpoint is of: ``sd15`` or ``sd21``.

    Raises:
        ValueError: If it is another model: SDXL, an inpainting UNet, no diffusion model at all.
    """
    conv_in = state.get(_UNET + "input_blocks.0.0.weight")
    if conv_in is None:
        tops = sorted({key.split(".")[0] for key in state})[:8]
        raise ValueError(
            f"{path} is no original Stable Diffusion checkpoint: it has no {_UNET}*; its keys "
            f"begin with {tops}"
        )
    if _UNET + "label_emb.0.0.weight" in state or "conditioner.embedders.0" in "".join(state):
        raise ValueError(
            f"{path} is SDXL (it has label embeddings or two text towers); Stable Diffusion 1.x "
            "or 2.x is expected"
        )
    if conv_in.shape[1] != 4:
        raise ValueError(
            f"the UNet of {path} takes {conv_in.shape[1]} channels, not 4 (an inpainting or depth "
            "model?); use a text-to-image model"
        )
    keys = [key for key in state if key.startswith(_UNET) and key.endswith("attn2.to_k.weight")]
    width = state[keys[0]].shape[1] if keys else None
    known = {(320, 768): "sd15", (320, 1024): "sd21"}
    found = known.get((conv_in.shape[0], width))
    if found is None:
        raise ValueError(
            f"the UNet of {path} begins with {conv_in.shape[0]} channels and reads a context of "
            f"width {width}; Stable Diffusion 1.x has 320 and 768, 2.x 320 and 1024. For another "
            "size give `architecture`, a dict or JSON file with LDM's `unet` and `vae` arguments"
        )
    return found


def as_diffusers_config(architecture: Mapping, part: str) -> dict:
    """Arguments of diffusers' ``unet`` or ``vae``, from LDM's if they are LDM's.

    LDM's have ``model_channels`` (UNet) and ``ch`` (``ddconfig`` of the autoencoder).
    """
    arguments = architecture[part]
    mark = "model_channels" if part == "unet" else "ch"
    if mark not in arguments:
        return dict(arguments)
    params = {
        "unet_config": {"params": {"transformer_depth": 1, **architecture["unet"]}},
        "first_stage_config": {"params": {"ddconfig": architecture["vae"]}},
    }
    original = {"model": {"params": params}}
    if part == "unet":
        return single_file_utils.create_unet_diffusers_config_from_ldm(original, {})
    return single_file_utils.create_vae_diffusers_config_from_ldm(original, {})


def convert_unet(state: Mapping[str, Tensor], config: dict, path: str) -> dict[str, Tensor]:
    """The UNet's tensors under diffusers' names; raises ``ValueError`` for keys left over."""
    return _convert(
        state, config, path, _UNET, single_file_utils.convert_ldm_unet_checkpoint, "UNet"
    )


def convert_vae(state: Mapping[str, Tensor], config: dict, path: str) -> dict[str, Tensor]:
    """The autoencoder's tensors under diffusers' names; see :func:`convert_unet`."""
    return _convert(
        state, config, path, _VAE, single_file_utils.convert_ldm_vae_checkpoint, "autoencoder"
    )


def _convert(
    state: Mapping[str, Tensor],
    config: dict,
    path: str,
    prefix: str,
    convert: Callable,
    part: str,
) -> dict[str, Tensor]:
    own = {k: v for k, v in state.items() if k.startswith(prefix) and not _UNREAD.match(k)}
    if not own:
        tops = sorted({key.split(".")[0] for key in state})[:8]
        raise ValueError(
            f"{path} has no {part} ({prefix}*): its keys begin with {tops}. Use a checkpoint "
            "of the whole model"
        )
    try:
        converted = convert(dict(own), config)
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"{path}: the {part} lacks {error}, which its architecture ({_brief(config)}) needs"
        ) from error
    # The conversion drops what it does not know without a word.
    used = {value.data_ptr() for value in converted.values()}
    unexpected = sorted(key for key, value in own.items() if value.data_ptr() not in used)
    if unexpected:
        raise ValueError(
            f"{path}: {len(unexpected)} keys of the {part} are not known, such as "
            f"{unexpected[:3]}; it is not of the architecture {_brief(config)}"
        )
    return converted


def _brief(config: dict) -> str:
    keys = ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim")
    return ", ".join(f"{k}={config[k]}" for k in keys if k in config)


def check_other_keys(state: Mapping[str, Tensor], path: str) -> None:
    """Raise ``ValueError`` for keys that belong to none of the known parts."""
    unknown = sorted(k for k in state if not k.startswith((_UNET, _VAE)) and not _UNREAD.match(k))
    if unknown:
        raise ValueError(
            f"{path}: {len(unknown)} keys belong neither to the UNet, the autoencoder, the text "
            f"tower nor to the known schedules, such as {unknown[:3]}"
        )


def load_checked(model: nn.Module, state: Mapping[str, Tensor], path: str, part: str) -> None:
    """Load float32 tensors into a model, its tail excepted (:data:`TAIL`).

    Raises:
        ValueError: For missing or unexpected keys and other shapes, with file, found, expected.
    """
    tail = TAIL[part]
    state = {key: value for key, value in state.items() if not key.startswith(tail)}
    expected = {k: v.shape for k, v in model.state_dict().items() if not k.startswith(tail)}
    missing = sorted(set(expected) - set(state))
    unexpected = sorted(set(state) - set(expected))
    if missing or unexpected:
        raise ValueError(
            f"{path}, {part}: {len(missing)} keys missing {missing[:3]}, {len(unexpected)} "
            f"unexpected {unexpected[:3]}; it is of another architecture, or incomplete"
        )
    for key, shape in expected.items():
        if state[key].shape != shape:
            raise ValueError(
                f"{path}, {part}: {key} is {tuple(state[key].shape)}, expected {tuple(shape)}"
            )
    floats = {k: v.float().contiguous() for k, v in state.items()}
    model.load_state_dict(floats, strict=False, assign=True)


def text_tower_weights(state: Mapping[str, Tensor], path: str) -> dict[str, Tensor]:
    """The CLIP text tower of a Stable Diffusion 1.x file, keys without ``text_model.``.

    Raises:
        ValueError: If there is none, or that of open_clip (2.x).
    """
    prefix = _TEXT + "transformer.text_model."
    found = {
        key[len(prefix) :]: value
        for key, value in state.items()
        if key.startswith(prefix) and not key.endswith("position_ids")
    }
    if not found:
        raise ValueError(
            f"{path} has no text tower of Stable Diffusion 1.x ({prefix}*) to embed `classes` "
            "with; give `class_embeddings`, a file that tools/embed_classes.py writes"
        )
    return found
