"""Finding and building the parts of a latent diffusion model, wherever its weights are.

A source has ``unet()`` and ``vae()``, both without the parts that VPD never runs, ``name``, and
``architecture``, the arguments of diffusers' classes: ``{"unet": {...}, "vae": {...}}``.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from huggingface_hub import constants as hub
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from torch import nn

from ...utils.tensors import open_tensors
from .architecture import architecture_of_shapes, check_unet_config, resolve_architecture
from .files import load_parameters, read_state_dict
from .original_layout import (
    UNET_PREFIX,
    VAE_PREFIX,
    convert_taesd,
    convert_unet,
    convert_vae,
    original_problem,
    unknown_keys,
)

_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_PARTS = ("unet", "vae", "text_encoder", "tokenizer")
#: What VPD never runs, of the UNet and of the autoencoder.
_TAIL = ("conv_norm_out", "conv_act", "conv_out", "decoder", "post_quant_conv")


def expand_path(weights: str) -> str:
    """``~`` and variables of the environment in a path replaced; hub names stay as they are."""
    return os.path.expandvars(os.path.expanduser(weights))


def strip(module: nn.Module) -> nn.Module:
    """Take off what VPD never runs: a UNet's output layers, an autoencoder's decoder."""
    for name in _TAIL:
        if hasattr(module, name):
            setattr(module, name, None)
    return module


def _stripped(state: Mapping) -> dict:
    return {k: v for k, v in state.items() if k.split(".")[0] not in _TAIL}


class RandomWeights:
    """Random weights, for those who ask for them."""

    name = "random"

    def __init__(self, architecture: str | Mapping | None) -> None:
        self.architecture = resolve_architecture(architecture)
        check_unet_config(self.architecture["unet"], "the architecture")

    def unet(self) -> UNet2DConditionModel:
        return strip(UNet2DConditionModel(**self.architecture["unet"]))

    def vae(self) -> AutoencoderKL:
        return strip(AutoencoderKL(**self.architecture["vae"]))


class OriginalWeights:
    """A single file in the original layout: ``.safetensors``, or ``.ckpt`` and its like."""

    def __init__(self, path: str | Path, architecture: str | Mapping | None) -> None:
        self.name = str(path)
        names: list[str] = []

        def wanted(key: str) -> bool:
            names.append(key)
            return key.startswith((UNET_PREFIX, VAE_PREFIX))

        self._state = read_state_dict(path, wanted)
        shapes = {key: value.shape for key, value in self._state.items()}
        problem = original_problem(names, shapes)
        if problem is not None:
            raise ValueError(
                f"{path} does not fit: {problem}. Use a Stable Diffusion 1.x or 2.x "
                "text-to-image checkpoint in the original layout, or a diffusers folder."
            )
        strangers = unknown_keys(names)
        if strangers:
            raise ValueError(
                f"{path} has {len(strangers)} unexpected keys that belong to no part of Stable "
                f"Diffusion 1.x or 2.x, the first: {', '.join(strangers[:4])}. Is it another model?"
            )
        if architecture is None:
            architecture = architecture_of_shapes(
                {k.removeprefix(UNET_PREFIX): shape for k, shape in shapes.items()}
            )
        if architecture is None:
            raise ValueError(
                f"{path} is not of a size that is known here (the number of attention heads "
                "cannot be read off the weights): give `architecture`, for instance the "
                "`unet_config` and `ddconfig` of its original configuration as `unet` and `vae`"
            )
        self.architecture = resolve_architecture(architecture)
        check_unet_config(self.architecture["unet"], self.name)

    def unet(self) -> UNet2DConditionModel:
        state, unused = convert_unet(self._state, self.architecture["unet"])
        with torch.device("meta"):
            unet = UNet2DConditionModel(**self.architecture["unet"])
        state |= {key: self._state[key] for key in unused}
        load_parameters(strip(unet), _stripped(state), f"{self.name} (UNet)")
        return unet

    def vae(self) -> AutoencoderKL:
        config = self.architecture["vae"]
        state, unused = convert_vae(self._state, len(config["down_block_types"]))
        if not state:
            raise ValueError(
                f"{self.name} has no autoencoder: expected keys that begin with {VAE_PREFIX}. "
                "Name one with `vae`."
            )
        # Of the autoencoder's training, not of the autoencoder.
        unused = [key for key in unused if not key.startswith(f"{VAE_PREFIX}loss.")]
        with torch.device("meta"):
            vae = AutoencoderKL(**config)
        state |= {key: self._state[key] for key in unused if ".decoder." not in key}
        load_parameters(strip(vae), _stripped(state), f"{self.name} (VAE)")
        return vae


class FolderWeights:
    """A diffusers folder, or the one in the hub's cache that a hub name stands for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._from_hub = not Path(name).is_dir()
        self.folder = hub_folder(name) if self._from_hub else Path(name)

    def part(self, name: str) -> Path:
        """The subfolder of a part."""
        folder = self.folder / name
        if not folder.is_dir():
            found = sorted(p.name for p in self.folder.iterdir())
            fetch = f" {_how_to_fetch(self.name, _PARTS)}" if self._from_hub else ""
            raise FileNotFoundError(
                f"the folder {self.folder} has no `{name}`: expected the subfolders of a diffusers "
                f"model ({', '.join(_PARTS)}), found {found}.{fetch}"
            )
        return folder

    @property
    def architecture(self) -> dict[str, dict]:
        folder, vae = self.part("unet"), self.folder / "vae"
        config = _read_config(UNet2DConditionModel, folder)
        check_unet_config(config, str(folder))
        # A model without one is given another.
        found = dict(_read_config(AutoencoderKL, vae)) if vae.is_dir() else None
        return {"unet": dict(config), "vae": found}

    def unet(self) -> UNet2DConditionModel:
        folder = self.part("unet")
        check_unet_config(_read_config(UNet2DConditionModel, folder), str(folder))
        return strip(_from_folder(UNet2DConditionModel, folder))

    def vae(self) -> AutoencoderKL | AutoencoderTiny:
        return open_vae(self.part("vae"))


#: Where the parts of a latent diffusion model come from.
WeightSource = RandomWeights | OriginalWeights | FolderWeights


def _patterns(parts: tuple[str, ...]) -> list[str]:
    prefixes = [f"{part}/" for part in parts] or [""]
    return [f"{p}{end}" for p in prefixes for end in ("*.json", "*.txt", "*model.safetensors")]


def _how_to_fetch(name: str, parts: tuple[str, ...]) -> str:
    include = " ".join(f"'{pattern}'" for pattern in _patterns(parts))
    return (
        "Fetch it once, with network access:\n"
        f"    HF_HUB_OFFLINE=0 hf download {name} --include {include}\n"
        "and then work offline with HF_HUB_OFFLINE=1 (the cache is in HF_HOME). Random weights, "
        "for trials only, are asked for with weights='random' and architecture='sd15'."
    )


def hub_folder(name: str, parts: tuple[str, ...] = _PARTS) -> Path:
    """The folder of a hub model in the hub's cache, fetched first if need be and allowed."""
    try:
        return Path(snapshot_download(name, allow_patterns=_patterns(parts)))
    except (OSError, HFValidationError, LocalEntryNotFoundError, RuntimeError) as error:
        offline = (
            "HF_HUB_OFFLINE is set, so nothing was fetched"
            if hub.HF_HUB_OFFLINE
            else "it could not be fetched now (see the error above)"
        )
        raise FileNotFoundError(
            f"{name!r} is no file or folder here, nor in the Hugging Face cache "
            f"({hub.HF_HUB_CACHE}); {offline}. {_how_to_fetch(name, parts)}"
        ) from error


def _read_config(model_class, folder: Path) -> dict:
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json, so it holds no diffusers model")
    return model_class.load_config(folder)


def weight_variant(folder: Path, safe: str, pickled: str) -> str | None:
    """Which of the weights in a folder to read: ``None`` for the plain ones, which are preferred,
    ``'fp16'`` where there are only those in half precision.
    """
    names = {path.name for path in folder.iterdir()}
    for variant, part in ((None, ""), ("fp16", ".fp16")):
        # One file, or shards with an index.
        wanted = [f"{safe}{part}.safetensors", f"{safe}.safetensors.index{part}.json"]
        wanted += [f"{pickled}{part}.bin", f"{pickled}.bin.index{part}.json"]
        if names.isdisjoint(wanted):
            continue
        for path in folder.glob("[!.]*.safetensors"):
            if (".fp16" in path.name) == bool(variant):
                with open_tensors(path):
                    pass  # it is whole
        return variant
    raise FileNotFoundError(
        f"{folder} has no weights: expected {safe}.safetensors, found {sorted(names)}"
    )


def _from_folder(model_class, folder: Path):
    """Load a diffusers model, and refuse what diffusers would only warn of."""
    variant = weight_variant(folder, "diffusion_pytorch_model", "diffusion_pytorch_model")
    try:
        model, info = model_class.from_pretrained(
            folder,
            variant=variant,
            # Left to itself, diffusers looks for the index of .bin shards under another name.
            use_safetensors=None if any(folder.glob("[!.]*.safetensors")) else False,
            torch_dtype=torch.float32,
            output_loading_info=True,
            low_cpu_mem_usage=False,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"the weights in {folder} do not fit: {error}") from error
    wrong = {
        kind: keys
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if (keys := sorted(map(str, info.get(kind, ()))))
    }
    if wrong:
        found = "; ".join(
            f"{len(keys)} {kind.replace('_', ' ')}, the first {keys[:4]}"
            for kind, keys in wrong.items()
        )
        raise ValueError(f"the weights in {folder} are not those of its config.json: {found}")
    return model


def open_vae(path: str | Path) -> AutoencoderKL | AutoencoderTiny:
    """An encoder on its own: a diffusers folder or hub name, or TAESD's original file."""
    path = Path(expand_path(str(path)))
    if path.suffix in _FILES:
        state = read_state_dict(path)
        if "0.weight" not in state:
            raise ValueError(
                f"{path} is no TAESD encoder: expected the keys 0.weight, 1.conv.0.weight, ...; "
                f"found {sorted(state)[:4]}. An AutoencoderKL is given as a diffusers folder."
            )
        with torch.device("meta"):
            vae = strip(AutoencoderTiny())
        load_parameters(vae, convert_taesd(state, "encoder"), str(path))
        return vae
    folder = path if path.is_dir() else hub_folder(str(path), ())
    config = _read_config(AutoencoderKL, folder)
    classes = {c.__name__: c for c in (AutoencoderKL, AutoencoderTiny)}
    kind = config.get("_class_name", "AutoencoderKL")
    if kind not in classes:
        raise ValueError(f"{folder} holds a {kind}, expected one of {', '.join(classes)}")
    _check_latents(config, folder)
    return strip(_from_folder(classes[kind], folder))


def _check_latents(config: Mapping, folder: Path) -> None:
    channels = config.get("latent_channels", 4)
    if channels != 4:
        raise ValueError(
            f"the autoencoder in {folder} has {channels} latent channels, expected the 4 of Stable "
            "Diffusion 1.x and 2.x"
        )
    blocks = config.get("encoder_block_out_channels") or config.get("block_out_channels", (0,))
    stride = 2 ** (len(blocks) - 1)
    if stride != 8:
        raise ValueError(
            f"the autoencoder in {folder} makes a latent of {stride} x {stride} pixels, expected "
            "the 8 x 8 of Stable Diffusion"
        )


def open_weights(weights: str | None, architecture: str | Mapping | None = None) -> WeightSource:
    """Find out which form weights have.

    Args:
        weights: A diffusers folder; a single file in the original layout; a hub name; ``"random"``
            or None for random ones, with ``architecture``.
        architecture: For random weights, or for a single file of unusual size.

    Raises:
        FileNotFoundError: If there are none; says how to get them.
        ValueError: If they are of another model, or not whole.
    """
    if weights is None or weights == "random":
        return RandomWeights(architecture)
    weights = expand_path(str(weights))
    if Path(weights).suffix in _FILES:
        return OriginalWeights(weights, architecture)
    return FolderWeights(weights)
