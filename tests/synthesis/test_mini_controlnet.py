"""The trained mini-ControlNet end to end, by its own config: images that show label and domain."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

import mmseg_domino.datasets  # noqa: F401  registers MMSegmentation's data sets, too
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
from street_world.cards import FOLDERS, TRAINED_FOLDER, read_card
from street_world.models import build_mini_models
from street_world.trees import write_street_world

CONFIG = Path(__file__).parents[2] / "configs" / "synthesis" / "controlnet_mini.py"
SCENES, SIZE = 6, (128, 256)
pytestmark = pytest.mark.skipif(
    read_card(TRAINED_FOLDER / FOLDERS["controlnet"]) is None,
    reason="the package has no trained mini-ControlNet",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Real images, and those generated from their labels, by domain: grey, (SCENES, H, W)."""
    root = tmp_path_factory.mktemp("mini")
    write_street_world(root / "data", SCENES, 0, SIZE, workers=0, progress=False)
    folders = build_mini_models(root / "models")
    cfg = Config.fromfile(CONFIG)
    options = cfg.synthesis.generator.to_dict()
    options |= dict(
        model=str(folders["sd"]), controlnet=str(folders["controlnet"]), device="cpu", steps=8
    )
    dataset = cfg.train_dataloader.dataset.to_dict() | dict(
        data_root=str(root / "data" / "cityscapes")
    )
    source = LabelledImages(dataset)
    plan = Plan(["clear_day", "fog", "night"], load_prompt_bank("acdc"), batch_size=6, min_free=0.0)
    tree = SynthesisTree(root / "made")
    report = synthesise(
        source, build_generator(options), QualityGate(GateThresholds()), tree, plan, progress=False
    )
    assert report.count("kept") == {"clear_day": SCENES, "fog": SCENES, "night": SCENES}
    images = {"real": [source.read(index)[0] for index in range(SCENES)]}
    for domain in plan.domains:
        paths = [tree.image_path(domain, source.name(index)) for index in range(SCENES)]
        images[domain] = [cv2.imread(str(path))[..., ::-1] for path in paths]
    return {name: np.stack(pictures).mean(3) for name, pictures in images.items()}


def test_night_is_dark_and_fog_is_flat(made):
    assert made["night"].shape == (SCENES, *SIZE)
    level = {name: pictures.mean() for name, pictures in made.items()}
    assert level["night"] < 0.65 * level["clear_day"]
    edges = {name: np.abs(np.diff(pictures)).mean() for name, pictures in made.items()}
    assert edges["fog"] < 0.75 * edges["clear_day"]


def test_layout_is_that_of_the_label(made):
    """Each image is more like the real one of its own label than like those of the others."""

    def outlines(pictures):
        small = np.stack([cv2.resize(p, (32, 16), interpolation=cv2.INTER_AREA) for p in pictures])
        small -= small.mean(0)  # what all streets have in common says nothing
        small = small.reshape(len(small), -1)
        return small / np.linalg.norm(small, axis=1, keepdims=True)

    alike = outlines(made["clear_day"]) @ outlines(made["real"]).T
    own = np.diagonal(alike)
    others = alike[~np.eye(SCENES, dtype=bool)]
    assert own.mean() > others.mean() + 0.3
    assert (alike.argmax(1) == np.arange(SCENES)).sum() >= SCENES - 2
