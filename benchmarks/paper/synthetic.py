"""Synthetic images for the benchmark's question of ratios."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmseg_domino.apps.summary import write_summary
from mmseg_domino.domain import load_prompt_bank
from mmseg_domino.synthesis import (
    GateThresholds,
    LabelledImages,
    Plan,
    QualityGate,
    SynthesisTree,
    build_generator,
    synthesise,
)
from street_world.cards import read_card

#: As configs/synthesis/controlnet_mini.py.
_STEPS, _GUIDANCE = 20, 3.0


def make_synthetic(
    root: Path, folders: Mapping[str, Path], domains: Sequence[str], labels: int
) -> str:
    """Images of ``domains`` from ``labels`` training labels, in ``root/data/synthetic``.

    Made by the mini-ControlNet where it is trained; otherwise by rule, with the world's disparity
    for fog. Nothing of the target domains' images is used in either case.

    Returns:
        What made them.
    """
    import mmseg_domino.datasets  # noqa: F401  registers the data sets

    source = LabelledImages(
        dict(
            type="CityscapesDataset",
            data_root=str(folders["cityscapes"]),
            data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
        )
    )
    tree = SynthesisTree(root / "data" / "synthetic")
    plan = Plan(domains=domains, bank=load_prompt_bank("acdc"), limit=labels, min_free=0.2)
    controlnet = folders.get("controlnet")
    if controlnet is not None and read_card(controlnet)["weights"].startswith("trained"):
        generator = build_generator(
            dict(
                type="ControlNetGenerator", model=str(folders["sd"]),
                controlnet=str(controlnet), size=(128, 256), steps=_STEPS,
                guidance_scale=_GUIDANCE,
                precision="fp32", device="cpu",
            )
        )  # fmt: skip
        name = f"the mini-ControlNet, {_STEPS} steps"
    else:
        world = folders["cityscapes"]
        depth = dict(
            root=str(world / "disparity" / "train"), camera_root=str(world / "camera" / "train")
        )
        generator = build_generator(dict(type="ClassicalWeather", depth=depth))
        name = "the classical generator"
    gate = QualityGate(GateThresholds(max_duplicate_distance=None))
    report = synthesise(source, generator, gate, tree, plan, progress=False)
    maker = {"generator": generator.describe(), "gate": gate.describe(), "prompts": plan.describe()}
    write_summary(tree, source, report.records, maker)
    return f"{name}; {sum(report.count('kept').values())} images"
