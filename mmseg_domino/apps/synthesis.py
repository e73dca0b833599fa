"""Synthetic images as a config describes them: its data set, generator and gate."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings
from torch import distributed

from .. import datasets  # noqa: F401  registers the data sets, MMSegmentation's too
from ..domain import DomainEncoder, PromptBank, load_prompt_bank
from ..synthesis import (
    GateThresholds,
    LabelledImages,
    Plan,
    QualityGate,
    SynthesisReport,
    SynthesisTree,
    build_generator,
    synthesise,
)
from ..utils.hashes import file_sha256
from ..utils.options import complete_options
from .inference import init_domino_model, predict_image
from .summary import write_summary


def checkpoint_name(path: str | Path) -> str:
    """A checkpoint's name and what is in it: ``iter_40000.pth sha256:0123456789abcdef``."""
    return f"{Path(path).name} sha256:{file_sha256(path)[:16]}"


def load_segmentor(
    config: str, checkpoint: str, num_classes: int, device: str = "cpu"
) -> Callable[[np.ndarray], np.ndarray]:
    """Load a model of MMSegmentation or of this package.

    Returns:
        Image ``(H, W, 3)`` uint8 RGB -> class numbers ``(H, W)`` uint8.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"the gate's segmentation model has no checkpoint {checkpoint}")
    model = init_domino_model(config, checkpoint, device=device)
    if model.num_classes != num_classes:
        raise ValueError(
            f"the gate's segmentation model has {model.num_classes} classes, the labels "
            f"{num_classes}"
        )
    return lambda image: predict_image(model, image).labels


def build_gate(options: dict, bank: PromptBank, num_classes: int, device: str) -> QualityGate:
    """The gate that a config's ``synthesis.gate`` describes."""
    options = dict(options)
    encoder, segmentor = options.pop("encoder", None), options.pop("segmentor", None)
    segment = name = None
    if segmentor is not None:
        segment = load_segmentor(**segmentor, num_classes=num_classes, device=device)
        name = checkpoint_name(segmentor["checkpoint"])
    if encoder is not None:
        encoder = DomainEncoder(**encoder, bank=bank).to(device)
    return QualityGate(GateThresholds(**options), segment, encoder, name)


def synthesise_config(
    cfg: Config,
    out: Path,
    domains: Sequence[str],
    device: str = "cpu",
    examples: int = 8,
    rank: int = 0,
    processes: int = 1,
    loader: str = "train_dataloader",
    bank: str | None = None,
    **plan: int | float | None,
) -> tuple[SynthesisReport, Path | None]:
    """Make the images that a config describes; in the first process, write their summary page."""
    init_default_scope(cfg.get("default_scope", "mmseg"))
    if cfg.get("custom_imports"):
        import_modules_from_strings(**cfg.custom_imports)
    if loader not in cfg:
        raise ValueError(f"{cfg.filename} has no {loader}")
    given = cfg.synthesis.to_dict() if cfg.get("synthesis") else {}
    defaults = {"generator": {"type": "ControlNetGenerator"}, "gate": {}, "prompts": {}}
    settings = complete_options(given, defaults, "synthesis")
    prompts = settings["prompts"]
    named = prompts.pop("bank", "acdc")
    prompt_bank = load_prompt_bank(bank or named)
    source = LabelledImages(cfg[loader].dataset)
    work = Plan(domains=list(domains), bank=prompt_bank, **plan, **prompts)
    gate = build_gate(settings["gate"], prompt_bank, len(source.classes), device)
    options = settings["generator"]
    if options["type"] == "ControlNetGenerator":
        options.setdefault("device", device)
    generator = build_generator(options)
    tree = SynthesisTree(out)
    barrier = distributed.barrier if processes > 1 else lambda: None
    report = synthesise(
        source, generator, gate, tree, work, rank=rank, world_size=processes, barrier=barrier
    )
    if rank > 0:
        return report, None
    maker = {"generator": generator.describe(), "gate": gate.describe(), "prompts": work.describe()}
    return report, write_summary(tree, source, report.records, maker, examples)
