import json

import cv2
import numpy as np
import pytest
from mmseg.datasets import CityscapesDataset

from mmseg_domino.domain import load_prompt_bank
from mmseg_domino.synthesis import (
    GateThresholds,
    LabelledImages,
    Plan,
    QualityGate,
    SynthesisTree,
    synthesise,
)
from mmseg_domino.synthesis.generators import Request
from mmseg_domino.synthesis.weather import ClassicalWeather
from mmseg_domino.weather import DOMAINS

from .scenes import SIZE, scene, write_disparity

CLASSES = tuple(CityscapesDataset.METAINFO["classes"])


def request(domain, seed=1, name="town/town_000000_000019"):
    image, label = scene(0)
    return Request(name, domain, image, label, CLASSES, image, "", "", seed)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("disparity", [True, False])
def test_weather_depends_on_the_seed_alone(tmp_path, domain, disparity):
    depth = dict(root=str(write_disparity(tmp_path))) if disparity else None
    first, again, other = ClassicalWeather(depth).generate(
        [request(domain, 1), request(domain, 1), request(domain, 2)]
    )
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)
    assert first.image.shape == (*SIZE, 3)
    assert first.problem is None
    assert first.parameters["depth"] == ("file" if disparity else "plane")
    assert first.parameters != other.parameters


def test_what_cannot_be_made_is_said(tmp_path):
    with pytest.raises(ValueError, match="not sandstorm"):
        ClassicalWeather().check_domains(["night", "sandstorm"])
    generator = ClassicalWeather(depth=dict(root=str(write_disparity(tmp_path))))
    generator.check_domains(DOMAINS)
    missing = generator.generate([request("fog", name="town/unknown")])[0]
    assert missing.image is None
    assert "unknown_disparity.png is missing" in missing.problem
    with pytest.raises(ValueError, match="strength must be a range"):
        ClassicalWeather(strength=(0, 2))


def test_runs_that_read_depth_differently_are_told_apart():
    kinds = [
        None,
        dict(root="a"),
        dict(root="a", focal=1000.0),
        dict(root="a", camera_root="c"),
        dict(root="a", kind="depth"),
        dict(root="a", kind="depth", scale=1.0),
    ]
    described = [str(ClassicalWeather(depth=kind).describe()) for kind in kinds]
    assert len(set(described)) == len(kinds)
    # Where the same files lie does not matter.
    assert str(ClassicalWeather(depth=dict(root="elsewhere")).describe()) == described[1]


def test_lines_hold_what_was_drawn_and_no_prompt_that_nothing_read(cityscapes, tmp_path):
    plan = Plan(DOMAINS, load_prompt_bank("acdc"), min_free=0.0, limit=1)
    tree, gate = SynthesisTree(tmp_path / "out"), QualityGate(GateThresholds())
    source = LabelledImages(cityscapes)
    synthesise(source, ClassicalWeather(), gate, tree, plan, progress=False)
    lines = [json.loads(s) for s in (tmp_path / "out/images.jsonl").read_text().splitlines()]
    drawn = {line["domain"]: line["parameters"] for line in lines}
    assert 75 <= drawn["fog"]["visibility"] <= 300
    assert 28 <= drawn["night"]["exposure"] <= 52
    assert all(0.3 <= drawn[domain]["strength"] <= 0.9 for domain in ("rain", "snow"))
    assert all(line["prompt"] is None and line["negative_prompt"] is None for line in lines)
    image = cv2.imread(str(tmp_path / "out/images/night" / f"{lines[1]['name']}.png"))
    assert image.mean() == pytest.approx(drawn["night"]["exposure"], abs=3)
