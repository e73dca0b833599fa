"""Synthetic images as a config describes them: its data set, generator and gate."""

from collections.abc import Sequence
from pathlib import Path

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
from .segmentor import checkpoint_name, load_segmentor
from .summary import write_summary


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


def _settings(cfg: Config) -> dict:
    settings = cfg.get("synthesis", {})
    settings = settings.to_dict() if settings else {}
    unknown = set(settings) - {"generator", "gate", "prompts"}
    if unknown:
        raise ValueError(
            f"`synthesis` has unknown entries {sorted(unknown)}; it takes generator, gate, prompts"
        )
    return settings


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
    settings = _settings(cfg)
    prompts = settings.get("prompts", {})
    named = prompts.pop("bank", "acdc")
    prompt_bank = load_prompt_bank(bank or named)
    source = LabelledImages(cfg[loader].dataset)
    work = Plan(domains=list(domains), bank=prompt_bank, **plan, **prompts)
    gate = build_gate(settings.get("gate", {}), prompt_bank, len(source.classes), device)
    options = settings.get("generator", {"type": "ControlNetGenerator"})
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
