"""Class embeddings from class names, as VPD makes them, kept in a file with their provenance.

A class's embedding is the state of CLIP's text tower at the end-of-text token, after the final
norm and before any projection, unnormalised, averaged over CLIP's 80 ImageNet templates.

Shapes: ``N`` classes, ``P`` prompts, ``D`` width of the text tower (the context space).
"""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...utils.tensors import read_tensors, write_tensors
from ...version import __version__
from .text_towers import TextTower, open_text_tower
from .weights import RandomWeights, WeightSource, expand_path

#: What ``classes = dict(...)`` may hold, with its defaults.
CLASS_OPTIONS = {
    # Their names, embedded by the text tower of the weights.
    "names": None,
    # A safetensors file with `class_embeddings` (N, D) in place of it, as `domino vpd embed` writes
    # it. With random weights and no text tower, random ones are the default.
    "embeddings": None,
    # N, to check the two against.
    "count": None,
    # Another text tower for the names: a diffusers folder or hub name, or
    # "open_clip:MODEL:PRETRAINED".
    "text_encoder": None,
    # Folder that keeps the embeddings of names; None for none.
    "cache": "~/.cache/mmseg_domino/class_embeddings",
}
#: The mean norm of CLIP ViT-L/14's class embeddings, which random ones imitate.
_RANDOM_NORM = 28.5
_FORMAT = "mmseg_domino.{}/1"
#: Names of the two kinds of tables in their files.
_CLASSES, _IN_DOMAINS = "class_embeddings", "classes_in_domains"


def _prompts(classes: Sequence[str]) -> list[list[str]]:
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    if not classes or not all(classes) or len(set(classes)) != len(classes):
        raise ValueError(f"class names must be given, not empty and distinct; got {classes}")
    return [[template(name) for template in OPENAI_IMAGENET_TEMPLATES] for name in classes]


def _provenance(
    kind: str, tower: TextTower, classes: Sequence[str], prompts: list[list[str]]
) -> dict:
    text = json.dumps(prompts)
    return {
        "format": _FORMAT.format(kind),
        "classes": list(classes),
        "text_tower": tower.name,
        "weights_sha256": tower.sha256(),
        "prompts_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "templates": len(prompts[0]),
        "max_length": tower.max_length,
        "state": "last hidden state at the end-of-text token, after the final norm, unprojected",
    }


def _cache_file(folder: str | Path, provenance: dict) -> Path:
    # Not by the tower's name: the same weights may lie elsewhere.
    keys = ("weights_sha256", "prompts_sha256", "max_length")
    tag = hashlib.sha256(json.dumps([provenance[k] for k in keys]).encode()).hexdigest()
    return Path(expand_path(str(folder))) / f"{tag[:32]}.safetensors"


def _write(path: str | Path, kind: str, embeddings: Tensor, provenance: dict) -> None:
    made = {
        "versions": {"mmseg_domino": __version__, "torch": torch.__version__},
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    write_tensors(path, {kind: embeddings}, {**provenance, **made})


def embed_classes(
    tower: TextTower,
    classes: Sequence[str],
    cache: str | Path | None = None,
    out: str | Path | None = None,
) -> Tensor:
    """Embed class names with CLIP's 80 ImageNet templates.

    Args:
        tower: Embeds the prompts.
        classes: ``N`` names.
        cache: Folder that keeps the result as safetensors, named by what it was made from; None
            to keep nothing. One that cannot be written to is warned of.
        out: File to write the result to, with its provenance.

    Returns:
        ``(N, D)`` float32.

    Raises:
        ValueError: If there are no names, one is empty or occurs twice, or two differ only beyond
            what the tower reads.
    """
    names = [name.strip() for name in classes]
    prompts = _prompts(names)
    provenance = _provenance(_CLASSES, tower, names, prompts)
    embeddings = _embed(_CLASSES, tower, prompts, provenance, cache)
    if out is not None:
        _write(out, _CLASSES, embeddings, provenance)
    return embeddings


def embed_classes_in_domains(
    tower: TextTower,
    classes: Sequence[str],
    domains: Mapping[str, Sequence[str]],
    cache: str | Path | None = None,
) -> Tensor:
    """Embed '{class} in {domain}' for ``N`` classes and ``K`` domains: ``(K, N, D)`` float32.

    A pair's embedding is the mean over the domain's words. ``cache`` is as in
    :func:`embed_classes`.
    """
    names = [name.strip() for name in classes]
    prompts = [
        [f"{name} in {words}" for words in synonyms]
        for synonyms in domains.values()
        for name in names
    ]
    provenance = {**_provenance(_IN_DOMAINS, tower, names, prompts), "domains": list(domains)}
    embeddings = _embed(_IN_DOMAINS, tower, prompts, provenance, cache)
    return embeddings.unflatten(0, (len(domains), len(names)))


def _embed(
    kind: str,
    tower: TextTower,
    prompts: list[list[str]],
    provenance: dict,
    cache: str | Path | None,
) -> Tensor:
    """The mean state of each list of prompts, from the cache if it is there."""
    cached = None if cache is None else _cache_file(cache, provenance)
    if cached is not None and cached.is_file():
        try:
            return _read(cached, kind)[0]
        except ValueError as error:  # damaged, or of a version without checksums
            warnings.warn(f"{error}: it is made again now", stacklevel=3)
    embeddings = torch.stack([tower(some).mean(dim=0) for some in prompts]).cpu().contiguous()
    if kind == _CLASSES:
        _check_cut(tower, provenance["classes"], prompts, embeddings)
    if cached is not None:
        try:
            _write(cached, kind, embeddings, provenance)
        except OSError as error:
            warnings.warn(f"class embeddings are not kept in {cache}: {error}", stacklevel=3)
    return embeddings


def _read(path: Path, kind: str) -> tuple[Tensor, dict]:
    """A table of ``kind`` and its provenance."""
    tensors, provenance = read_tensors(path)
    if kind not in tensors:
        raise ValueError(f"{path} has no tensor `{kind}`; it holds {list(tensors)}")
    return tensors[kind].float(), provenance


def _check_cut(
    tower: TextTower, names: Sequence[str], prompts: list[list[str]], embeddings: Tensor
) -> None:
    """Name the classes whose prompts the tower does not read to their end."""
    cut = [name for name, some in zip(names, prompts, strict=True) if tower.cut(some)]
    if not cut:
        return
    first: dict[bytes, str] = {}
    for name, row in zip(names, embeddings, strict=True):
        other = first.setdefault(row.numpy().tobytes(), name)
        if other != name:
            raise ValueError(
                f"the classes {other!r} and {name!r} differ only beyond the {tower.max_length} "
                "tokens that the text tower reads, so their embeddings are the same; shorten them"
            )
    warnings.warn(
        f"prompts of {len(cut)} classes are longer than the {tower.max_length} tokens that the "
        f"text tower reads, and are cut: {', '.join(map(repr, cut[:5]))}",
        stacklevel=3,
    )


def read_class_embeddings(path: str | Path, classes: Sequence[str] | None = None) -> Tensor:
    """Read class embeddings from a file.

    Args:
        path: A safetensors file with ``class_embeddings`` ``(N, D)``.
        classes: Names to compare with those in the file's provenance, if it has one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, has no such tensor, or was made for other classes.
    """
    path = Path(expand_path(str(path)))
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of class embeddings at {path}")
    embeddings, provenance = _read(path, _CLASSES)
    if embeddings.ndim != 2:
        raise ValueError(
            f"the class embeddings in {path} must be (N, D), got {tuple(embeddings.shape)}"
        )
    made_for = provenance.get("classes")
    if classes is not None and made_for is not None and list(classes) != made_for:
        raise ValueError(
            f"the class embeddings in {path} were made for the classes {made_for}, and `classes` "
            f"are {list(classes)}; order counts"
        )
    if classes is not None and len(classes) != len(embeddings):
        raise ValueError(
            f"{path} holds {len(embeddings)} class embeddings and `classes` names {len(classes)}"
        )
    return embeddings


def random_states(*shape: int) -> Tensor:
    """Random vectors as long as CLIP's class embeddings, for trials with random weights."""
    return F.normalize(torch.randn(shape), dim=-1) * _RANDOM_NORM


def find_class_embeddings(
    source: WeightSource | None, name: str, width: int, options: Mapping
) -> Tensor:
    """The class embeddings that a UNet is to read, from wherever they are given.

    Args:
        source: The diffusion weights; not needed with ``embeddings``. Random ones without it and
            ``text_encoder`` get random embeddings.
        name: Of the weights, for messages.
        width: ``D`` of the UNet's cross-attention.
        options: :data:`CLASS_OPTIONS`, all of them.

    Returns:
        ``(N, D)`` float32.

    Raises:
        ValueError: If nothing says what the classes are, or counts or widths disagree.
        FileNotFoundError: If a file is missing.
    """
    classes, path, count = options["names"], options["embeddings"], options["count"]
    if path is not None:
        tokens = read_class_embeddings(path, classes)
    elif isinstance(source, RandomWeights) and options["text_encoder"] is None:
        number = len(classes) if classes is not None else count
        if number is None:
            raise ValueError("with weights='random' give `classes`: names, or dict(count=N)")
        tokens = random_states(number, width)
    elif classes is None:
        raise ValueError("DominoVPD needs `classes`: their names, or dict(embeddings=FILE)")
    else:
        tower = open_text_tower(options["text_encoder"], source)
        tokens = embed_classes(tower, classes, options["cache"])
    if tokens.shape[1] != width:
        raise ValueError(
            f"the class embeddings{f' in {path}' if path else ''} are {tokens.shape[1]} wide, and "
            f"the cross-attention of {name} takes {width} (Stable Diffusion 1.x: 768, 2.x: "
            "1024). Embed the names with the text tower of the same model."
        )
    if count is not None and len(tokens) != count:
        raise ValueError(
            f"there are {len(tokens)} class embeddings and classes.count is {count}; the class "
            "names, the embeddings and the head's num_classes must agree"
        )
    return tokens
