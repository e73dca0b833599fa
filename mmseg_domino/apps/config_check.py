"""Whether a config can run on this machine: its data, its embeddings, its weights, its model."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings
from mmseg.registry import DATASETS, MODELS

from ..datasets import leaf_datasets
from ..domain import EmbeddingStore
from ..engine.mixin import apply_domino
from ..utils.configs import dictionaries
from .installation import Finding

_CONFIGS = Path(__file__).parents[1] / ".mim" / "configs"
#: Bytes of a parameter: with AdamW in training also its gradient and two moments.
_FROZEN, _TRAINED = 4, 16
#: Where the embedded default lies.
_MINI = "data/mini/"


def _explain(error: Exception) -> tuple[str, str]:
    """What an error says and, as messages here end so, the command that mends it."""
    text = str(error)
    if not isinstance(error, OSError | ValueError):
        text = f"{type(error).__name__}: {error}"
    said, _, command = text.partition("\n    ")
    return said.strip().removesuffix(":"), command.split("\n")[0].strip()


def _problem(subject: str, error: Exception, remedy: str = "") -> Finding:
    said, command = _explain(error)
    if _MINI in said:
        command = "domino data mini"
    return Finding(subject, said, "problem", command or remedy)


def _build_dataset(leaf: Mapping):
    dataset = DATASETS.build({**leaf, "pipeline": []})
    if len(dataset) == 0:
        raise FileNotFoundError(f"there is no image below {leaf.get('data_root')}")
    return dataset


def check_data() -> Iterator[Finding]:
    """Which of the known data sets lie below ``data/``, with their numbers of images."""
    missing = []
    for file in sorted((_CONFIGS / "_base_" / "datasets").glob("*.py")):
        config = Config.fromfile(file, format_python_code=False)
        for name, leaf in config.items():
            if not isinstance(leaf, Mapping) or "type" not in leaf or "data_root" not in leaf:
                continue
            if not Path(leaf.data_root).is_dir():
                missing.append(leaf.data_root.rstrip("/"))
                continue
            try:
                text = f"{len(_build_dataset(leaf))} images in {leaf.data_root}"
                yield Finding(name, text)
            except (OSError, ValueError) as error:
                yield Finding(name, _explain(error)[0], "note", "domino data check CONFIG")
    if missing:
        text = f"not found: {', '.join(dict.fromkeys(missing))}"
        yield Finding("data sets", text, "note", "docs/data.md says where each is from and goes")


def check_weights() -> Iterator[Finding]:
    """Whether the flagship's weights are in the caches; fetches nothing if the hub is offline."""
    from ..domain.encoder import DomainEncoder
    from ..models.diffusion.weights import hub_folder

    name = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    for subject, find in (
        ("Stable Diffusion 1.5", lambda: hub_folder(name)),
        ("CLIP ViT-L-14", lambda: DomainEncoder("ViT-L-14", "openai")),
    ):
        try:
            found = find()
        except (OSError, RuntimeError) as error:
            said, command = _explain(error)
            yield Finding(subject, said.splitlines()[0], "note", command.split("\n")[0])
        else:
            yield Finding(subject, f"in {found}" if isinstance(found, Path) else "in the cache")


def check_config(
    file: str, overrides: Mapping | None = None, model: bool = True
) -> Iterator[Finding]:
    """Look at everything that a config names; with ``model``, also build that with its weights."""
    try:
        cfg = Config.fromfile(file)
        cfg.merge_from_dict(dict(overrides or {}))
        cfg = apply_domino(cfg)
        if cfg.get("custom_imports"):
            import_modules_from_strings(**cfg.custom_imports)
    except Exception as error:  # a config is a program
        yield _problem(file, error)
        return
    init_default_scope(cfg.get("default_scope", "mmseg"))
    yield from _check_loaders(cfg, file)
    starts = [("load_from", cfg.get("load_from")), *_pretrained(cfg.model)]
    found = [_check_start(subject, start) for subject, start in starts if start]
    yield from filter(None, found)
    if model:
        # MMEngine would fetch what is not there.
        yield from _check_model(cfg, initialise=not any(found))


def _pretrained(model: Mapping) -> Iterator[tuple[str, str]]:
    """Checkpoints that parts of a stock model start from."""
    for node in dictionaries(model):
        if node.get("type") == "Pretrained":
            yield "pretrained", node.get("checkpoint")
        elif isinstance(node.get("pretrained"), str) and "backbone" in node:
            yield "pretrained", node["pretrained"]


def _check_start(subject: str, checkpoint: str) -> Finding | None:
    if "://" not in checkpoint:
        if Path(checkpoint).expanduser().is_file():
            return None
        return Finding(subject, f"there is no checkpoint {checkpoint}", "problem")
    cached = Path(torch.hub.get_dir(), "checkpoints", checkpoint.rsplit("/", 1)[-1])
    if cached.is_file():
        return None
    return Finding(subject, f"{checkpoint} is fetched when training starts", "note")


def _check_loaders(cfg: Config, file: str) -> Iterator[Finding]:
    images, seen = {}, []
    for split in ("train", "val", "test"):
        for leaf in leaf_datasets(cfg.get(f"{split}_dataloader")):
            place = {k: v for k, v in leaf.items() if k != "pipeline"}
            if place in seen:
                continue
            seen.append(place)
            subject = f"{split}: {leaf.get('type')}"
            try:
                dataset = _build_dataset(leaf)
            except Exception as error:
                remedy = "put it there, or change data_root in the config (docs/data.md)"
                yield _problem(subject, error, remedy)
                continue
            paths = [dataset.get_data_info(i)["img_path"] for i in range(len(dataset))]
            images.update(dict.fromkeys(paths, getattr(dataset, "data_root", None)))
            yield Finding(subject, f"{len(dataset)} images in {leaf.get('data_root')}")
    domino = cfg.get("domino") or {}
    if domino.get("store") and domino.get("encode") in (None, "store"):
        yield _check_store(domino.store, images, file)


def _check_store(path: str, images: Mapping[str, str | None], file: str) -> Finding:
    try:
        store = EmbeddingStore.open(path)
    except (OSError, ValueError) as error:
        said = _explain(error)[0].split(". ")[0]
        return Finding("embeddings", said, "problem", f"domino domains extract {file}")
    missing = [image for image, root in images.items() if not store.has(image, root)]
    if missing:
        text = f"{path} lacks {len(missing)} of {len(images)} images, such as {missing[0]}"
        return Finding("embeddings", text, "problem", store.command_to_add(file))
    return Finding("embeddings", f"{path} has all {len(images)} images")


def _check_model(cfg: Config, initialise: bool) -> Iterator[Finding]:
    try:
        model = MODELS.build(cfg.model)
        if initialise:
            model.init_weights()
    except Exception as error:
        yield _problem("model", error)
        return
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    need = (trained * _TRAINED + (total - trained) * _FROZEN) / 2**30
    text = f"{type(model).__name__}, {total / 1e6:.1f} M parameters, {trained / 1e6:.1f} M trained"
    yield Finding("model", text)
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        if need > memory:
            text = f"weights, gradients and AdamW's moments take {need:.1f} GiB, of {memory:.1f}"
            yield Finding("memory", text, "problem", "freeze more, or use a smaller backbone")
