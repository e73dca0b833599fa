"""Building open_clip models, with their weights or without.

Every way to name one (name and tag, folder, hub, config file), and errors that say how to get what
is missing. Nothing is fetched with ``HF_HUB_OFFLINE=1``, by any route.
"""

import difflib
import hashlib
import json
import logging
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import open_clip
import torch
from huggingface_hub import constants as hub
from torch import Tensor, nn

from ..utils import read_mapping
from ..utils.checkpoints import (
    MissingWeightsError,
    is_torchscript,
    read_pickle,
    read_torchscript,
)
from ..utils.tensors import open_tensors

#: ``pretrained`` of a model that is to have random weights.
RANDOM = "random"
_LOCAL = "local-dir:"
_HUB = "hf-hub:"


def _is_folder(model: str) -> bool:
    return model.startswith((_LOCAL, ".", "/", "~")) or Path(model).is_dir()


def brings_weights(model: str) -> bool:
    """Whether a model is named by where its weights are, so that it needs no ``pretrained``."""
    return not model.endswith(".json") and (_is_folder(model) or model.startswith(_HUB))


def load_clip(model: str, pretrained: str, seed: int = 0, cache_dir: str | None = None):
    """Build an open_clip model with its weights, and its tokenizer."""
    random = pretrained == RANDOM
    if brings_weights(model):
        # "openai" is the constructor's default, so it says nothing here.
        if not random and pretrained not in ("openai", None):
            raise ValueError(
                f"{model} brings its own weights; pretrained={pretrained!r} would be ignored. "
                "Leave it out, or ask for 'random' weights."
            )
        if _is_folder(model):
            _check_folder(_folder(model), random)
        with _opened(model, cache_dir) as name:
            return _create(name, None, random, seed, cache_dir)
    is_file = model.endswith(".json")
    tag = None if is_file else _tag(model, pretrained)
    if tag is not None:
        _check_url_offline(model, pretrained, tag, cache_dir)
        with _fetching(model, pretrained, cache_dir):
            return _create(model, pretrained, False, seed, cache_dir, _quick_gelu(tag))
    with _opened(model) as name:
        if is_file and not random and not Path(pretrained).is_file():
            raise MissingWeightsError(
                f"the model config {model} needs `pretrained` to be the path of a checkpoint "
                f"(safetensors or pt) or 'random', got {pretrained!r}, which is no file"
            )
        clip, tokenizer = _create(name, None, True, seed)
    if not random:
        _load_file(clip, Path(pretrained), model)
    return clip, tokenizer


@contextmanager
def _opened(model: str, cache_dir: str | None = None) -> Iterator[str]:
    """open_clip's own name of a model, within what explains its errors."""
    if model.endswith(".json"):
        with _as_folder(Path(model)) as folder:
            yield folder
    elif model.startswith(_HUB):
        with _fetching(model, None, cache_dir):
            yield model
    else:
        yield f"{_LOCAL}{_folder(model)}" if _is_folder(model) else model


def weights_hash(model: str, pretrained: str | None) -> str | None:
    """``DomainEncoder.weights_sha256`` of a model whose weights are a safetensors file here, read
    without building it; ``None`` for others."""
    if pretrained == RANDOM:
        return None
    if brings_weights(model) and _is_folder(model):
        file = _folder(model) / "open_clip_model.safetensors"
    else:
        file = Path(str(pretrained))
    if file.suffix != ".safetensors" or not file.is_file():
        return None
    status = file.stat()
    return _hash_of_file(str(file), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _hash_of_file(file: str, size: int, changed: int) -> str:
    with open_tensors(file) as opened:
        return hash_weights({name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """Hash of weights by name, shape and float32 value, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def build_clip(model: str, pretrained: str) -> nn.Module:
    """Build the architecture that :func:`load_clip` would, with random weights.

    Nothing is read or fetched, but for the description of a ``hf-hub:`` model. Random numbers come
    from PyTorch's global generator.
    """
    own = brings_weights(model)
    if own and _is_folder(model):
        _check_folder(_folder(model), random=True)
    tag = None if own or model.endswith(".json") else _tag(model, pretrained)
    with _opened(model) as name:
        return _without_weights(name, _quick_gelu(tag))


def _without_weights(model: str, quick_gelu: bool = False) -> nn.Module:
    def is_news(record: logging.LogRecord) -> bool:
        return "Model initialized randomly" not in record.getMessage()

    # open_clip warns of what is asked for here.
    logging.root.addFilter(is_news)
    try:
        return open_clip.create_model(
            model,
            load_weights=False,
            pretrained_text=False,
            force_quick_gelu=quick_gelu,
            device=torch.empty(0).device,  # the default one, perhaps "meta"
        )
    finally:
        logging.root.removeFilter(is_news)


def _folder(model: str) -> Path:
    return Path(model.removeprefix(_LOCAL)).expanduser()


def _quick_gelu(tag: dict | None) -> bool:
    # open_clip only warns when a tag was trained with another activation than the model's.
    return bool((tag or {}).get("quick_gelu"))


def _tag(model: str, pretrained: str) -> dict | None:
    """open_clip's entry of a tag; ``None`` for a file or random weights."""
    names = open_clip.list_models()
    if model.replace("/", "-") not in names:
        near = difflib.get_close_matches(model, names, n=5, cutoff=0.4)
        raise ValueError(
            f"unknown open_clip model {model!r}; near it are: {', '.join(near) or 'none'} (all: "
            "open_clip.list_models()). A local model is given as its folder or config JSON file."
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained in tags:
        return open_clip.get_pretrained_cfg(model, pretrained)
    if pretrained != RANDOM and not Path(pretrained).is_file():
        if Path(pretrained).suffix:
            raise MissingWeightsError(f"there is no checkpoint {pretrained} for {model}")
        raise ValueError(
            f"{model} has no weights {pretrained!r}; open_clip knows: {', '.join(tags)}. "
            "A checkpoint file of your own is given by its path; random weights by 'random'."
        )
    return None


@contextmanager
def _as_folder(path: Path) -> Iterator[str]:
    """open_clip's name of a folder that holds a config file."""
    if not path.is_file():
        raise MissingWeightsError(f"there is no open_clip config file {path}")
    config = read_mapping(path)
    config = config if "model_cfg" in config else {"model_cfg": config, "preprocess_cfg": {}}
    with tempfile.TemporaryDirectory(prefix="mmseg_domino-") as folder:
        (Path(folder) / "open_clip_config.json").write_text(json.dumps(config))
        yield f"{_LOCAL}{folder}"


def _load_file(clip: nn.Module, path: Path, model: str) -> None:
    """Read a checkpoint in open_clip's layout, or one of OpenAI's TorchScript archives."""
    try:
        if is_torchscript(path):
            # Half precision, and three numbers that are no weights.
            state = read_torchscript(path)
            numbers = ("input_resolution", "context_length", "vocab_size")
            clip.load_state_dict({k: v.float() for k, v in state.items() if k not in numbers})
        else:
            if path.suffix != ".safetensors":
                read_pickle(path, mmap=True)  # says more of what is wrong than open_clip
            open_clip.load_checkpoint(clip, str(path))
    except RuntimeError as error:
        lines = " ".join(str(error).splitlines()[:3])
        raise ValueError(f"the checkpoint {path} does not fit {model}: {lines[:500]}") from error


def _check_folder(folder: Path, random: bool) -> None:
    """Refuse a folder without config or weights, and pickles that are damaged or would run code."""
    has_config = (folder / "open_clip_config.json").is_file()
    weights = [p for p in folder.glob("[!.]*") if p.suffix in (".safetensors", ".bin", ".pth")]
    if not has_config or not (weights or random):
        raise MissingWeightsError(_no_folder(folder))
    if not random and not any(p.suffix == ".safetensors" for p in weights):
        for path in weights:
            read_pickle(path, mmap=True)


def _no_folder(folder: Path) -> str:
    there = shlex.quote(str(folder))
    has_config = (folder / "open_clip_config.json").is_file()
    return (
        f"{folder} holds no open_clip model{' weights' if has_config else ''}: expected "
        "open_clip_config.json and open_clip_model.safetensors. A published one is fetched "
        "once, with network access:\n"
        "    HF_HUB_OFFLINE=0 hf download ORG/REPO --include 'open_clip*' "
        f"--local-dir {there}\n"
        "and then used offline (HF_HUB_OFFLINE=1). Random weights, for trials only, are asked "
        "for with pretrained='random'."
    )


def _check_url_offline(model: str, pretrained: str, tag: dict, cache_dir: str | None) -> None:
    """Weights at a plain URL know nothing of the offline variable; honour it for them."""
    if not hub.HF_HUB_OFFLINE or tag.get("hf_hub") or "url" not in tag:
        return
    folder = Path(cache_dir or "~/.cache/clip").expanduser()
    if not (folder / Path(tag["url"]).name).is_file():
        raise MissingWeightsError(_how_to_fetch(model, pretrained, cache_dir))


def _create(
    model: str,
    pretrained: str | None,
    random: bool,
    seed: int,
    cache_dir: str | None = None,
    quick_gelu: bool = False,
):
    with torch.random.fork_rng(devices=[], enabled=random):
        if random:
            torch.manual_seed(seed)
        clip = open_clip.create_model(
            model,
            None if random else pretrained,
            load_weights=not random,
            require_pretrained=not random,
            pretrained_text=not random,
            force_quick_gelu=quick_gelu,
            cache_dir=cache_dir,
        )
    return clip, open_clip.get_tokenizer(model, cache_dir=cache_dir)


@contextmanager
def _fetching(model: str, pretrained: str | None, cache_dir: str | None) -> Iterator[None]:
    """Explain the many errors that an absent file or network becomes on its way up."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise MissingWeightsError(_how_to_fetch(model, pretrained, cache_dir)) from error


def _how_to_fetch(model: str, pretrained: str | None, cache_dir: str | None) -> str:
    arguments = [repr(model)]
    if pretrained:
        arguments.append(f"pretrained={pretrained!r}")
    if cache_dir:
        arguments.append(f"cache_dir={cache_dir!r}")
    code = f"import open_clip; open_clip.create_model_and_transforms({', '.join(arguments)})"
    # Python's own quotes are single ones, so that double ones read best.
    quoted = shlex.quote(code) if set(code) & set('"$`\\') else f'"{code}"'
    offline = (
        "HF_HUB_OFFLINE is set, so nothing was fetched; unset it for the command."
        if hub.HF_HUB_OFFLINE
        else "They could not be fetched now (see the error above)."
    )
    return (
        f"the weights of {model}{f' ({pretrained})' if pretrained else ''} are not on this "
        f"machine. {offline} Fetch them once, with network access:\n"
        f"    HF_HUB_OFFLINE=0 python -c {quoted}\n"
        "and then work offline with HF_HUB_OFFLINE=1. Random weights, for trials only, are asked "
        "for with pretrained='random'."
    )
