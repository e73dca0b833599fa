from pathlib import Path

import numpy as np
import pytest

from benchmarks.paper.bench import (
    CONFIRM,
    FULL,
    QUICK,
    QUICK_CONDITIONS,
    Check,
    _check_identity,
    bench_runs,
    confirming_runs,
    constant_miou,
    domain_accuracy,
    write_checks,
)
from benchmarks.paper.questions import DOMINO, HEADLINE_SEEDS, PLAIN, QUESTIONS
from mmseg_domino.engine import apply_domino, load_config
from mmseg_domino.metrics import GroupKey, PerImage

CONFIGS = Path(__file__).parents[2] / "configs"


def test_shared_runs_are_planned_once_and_seed_by_seed():
    runs = bench_runs(CONFIGS, FULL)
    keys = [(r.group, r.name, r.seed) for r in runs]
    assert len(set(keys)) == len(keys)
    seeds = [r.seed for r in runs]
    assert seeds == sorted(seeds)
    asked = {key for question in QUESTIONS for key in question.conditions.values()}
    for key in asked:
        of_key = [s for *k, s in keys if tuple(k) == key]
        expected = HEADLINE_SEEDS if key in (DOMINO, PLAIN) else 3
        assert of_key == list(range(expected))
    assert all(r.name in r.source.conditions for r in runs)


def test_the_confirmation_sees_nothing_that_the_choice_saw():
    runs = confirming_runs(CONFIGS)
    assert {(r.group, r.name) for r in runs} == {DOMINO, PLAIN}
    seeds = {r.seed for r in runs}
    assert len(seeds) == 5
    assert not seeds & {r.seed for r in bench_runs(CONFIGS, FULL)}
    assert CONFIRM.world != FULL.world
    assert CONFIRM.val == 48


def test_what_is_compared_sees_the_same_images():
    """The chosen design is the flagship's; plain VPD differs in the model alone."""
    base = load_config(CONFIGS / "bench" / "domino_vpd_bench.py")
    runs = {(r.group, r.name): apply_domino(r.resolve()) for r in bench_runs(CONFIGS, QUICK)}
    plain, chosen = runs[PLAIN], runs[DOMINO]
    flagship = apply_domino(base)
    assert chosen.model == flagship.model
    assert chosen.train_dataloader == flagship.train_dataloader
    assert (chosen.optim_wrapper, chosen.train_cfg) == (plain.optim_wrapper, plain.train_cfg)
    assert plain.model.neck.type == "FPN"
    attach = "LoadDomainEmbedding"
    steps = [
        [s for s in run.train_dataloader.dataset.pipeline if s.type != attach]
        for run in (plain, chosen)
    ]
    for pipeline, embedding in zip(steps, ("keep", "clip"), strict=True):
        draw = next(step for step in pipeline if step.type == "DrawWeather")
        assert draw.pop("embedding") == embedding
        draw.pop("encoder", None)
    assert steps[0] == steps[1]


def test_the_quick_version_is_a_part():
    runs = bench_runs(CONFIGS, QUICK, QUICK_CONDITIONS)
    assert {(r.group, r.name) for r in runs} == set(QUICK_CONDITIONS)
    assert {r.seed for r in runs} == {0}


@pytest.fixture
def images():
    """Two images of three classes, 100 pixels each; the first class has 120 of 200, the third 0."""
    label = np.array([[70, 30, 0], [50, 50, 0]])
    return PerImage(
        images=("a", "b"), groups=(GroupKey("city/fog"),) * 2, classes=("x", "y", "z"),
        counts=np.stack([label] * 3, axis=1),
        domain_scores=np.array([[0.2, 0.8], [0.9, 0.1]]),
    )  # fmt: skip


def test_chance_is_the_most_frequent_class_everywhere(images):
    """IoU 120 / 200 for one class, 0 for the other; the third is in neither."""
    assert constant_miou(images, "city/fog") == pytest.approx(30)


def test_domain_accuracy(images):
    assert domain_accuracy(images, ("night", "fog")) == 50
    assert domain_accuracy(images, ("fog", "night")) == 50
    assert domain_accuracy(images, ("rain", "snow")) == 0


def test_checks_say_what_failed(tmp_path):
    checks = [Check("good", 2.0, 1.0), Check("bad", 0.5, 1.0), Check("no number", np.nan, 1.0)]
    assert [c.passed for c in checks] == [True, False, False]
    text = write_checks(tmp_path / "checks.txt", checks)
    assert "ok     good: 2.00 >= 1.00" in text
    assert "FAILED bad: 0.50 >= 1.00" in (tmp_path / "checks.txt").read_text()


def test_runs_of_other_models_are_not_added_to(tmp_path):
    _check_identity(tmp_path, ["one"])
    _check_identity(tmp_path, ["two"])  # nothing was run yet
    results = tmp_path / "runs" / "s" / "a" / "seed0" / "results.json"
    results.parent.mkdir(parents=True)
    results.write_text("{}")
    _check_identity(tmp_path, ["two"])
    with pytest.raises(ValueError, match="another street world or other miniature models"):
        _check_identity(tmp_path, ["three"])
