import numpy as np
import pytest

from benchmarks.paper.decisions import DECIDING, RELATIVE, compare, decide
from benchmarks.paper.questions import CLAIMS, DOMINO, PLAIN, QUESTIONS, Claim
from mmseg_domino.experiments import collect_conditions
from mmseg_domino.experiments.statistics import verdict
from mmseg_domino.metrics import ResultsError, load_results

from ..experiments.folders import write_run

A, B, C = ("s", "a"), ("s", "b"), ("s", "c")


def conditions(tmp_path, levels, seeds=(0, 1, 2), **options):
    for name, right in levels.items():
        for seed in seeds:
            write_run(tmp_path / "s" / name / f"seed{seed}", seed, right, **options)
    return {(c.group, c.name): c for c in collect_conditions([tmp_path / "s"])}


def test_the_difference_is_that_of_the_results(tmp_path):
    found = conditions(tmp_path, {"a": 0.9, "b": 0.8})
    contrasts = compare(found[A], found[B], "acdc")

    def mean(name, figure):
        folders = [tmp_path / "s" / name / f"seed{s}" for s in range(3)]
        return np.mean([load_results(f).figures[f"acdc/{figure}"].value for f in folders])

    for figure in (DECIDING, RELATIVE):
        assert contrasts[figure].difference == pytest.approx(mean("a", figure) - mean("b", figure))
        assert contrasts[figure].seeds == 3
        assert contrasts[figure].low < contrasts[figure].difference < contrasts[figure].high


def test_verdicts_of_claims(tmp_path):
    """A clear gain holds, its opposite does not, and equal conditions cannot be told apart."""
    conditions(tmp_path, {"a": 0.9, "b": 0.8})
    found = conditions(tmp_path, {"c": 0.9}, luck=8)

    def of(better, *than):
        return decide(Claim("", "paper", better, than), found, "acdc").verdict()

    assert of(A, B) == "holds"
    assert of(B, A) == "does not hold"
    assert of(A, C) == "cannot be told"
    assert of(A, B, C) == "cannot be told", "it must hold against each"
    assert of(B, A, B) == "does not hold"


def test_two_seeds_or_none_tell_nothing(tmp_path):
    two = conditions(tmp_path / "two", {"a": 0.9, "b": 0.7}, seeds=(0, 1))
    decision = decide(Claim("", "paper", A, (B,)), two, "acdc")
    assert decision.verdict() == "cannot be told"
    assert decision.comparisons[0].contrasts[DECIDING].seeds == 2
    assert verdict(decision.comparisons[0].contrasts[DECIDING]) == "cannot be told"
    nothing = decide(Claim("", "paper", A, (C,)), two, "acdc")
    assert nothing.verdict() == "cannot be told"
    assert nothing.comparisons[0].contrasts == {}


def test_only_common_seeds_are_paired(tmp_path):
    found = conditions(tmp_path, {"a": 0.9, "b": 0.8})
    for name in ("results.json", "per_image.safetensors"):
        (tmp_path / "s" / "b" / "seed1" / name).unlink()
    found = {(c.group, c.name): c for c in collect_conditions([tmp_path / "s"])}
    assert compare(found[A], found[B], "acdc")[DECIDING].seeds == 2


def test_other_test_images_are_refused(tmp_path):
    conditions(tmp_path, {"a": 0.9})
    found = conditions(tmp_path, {"b": 0.9}, images=4)
    with pytest.raises(ResultsError, match="different images"):
        compare(found[A], found[B], "acdc")


def test_claims_are_about_what_the_questions_run():
    asked = {key for question in QUESTIONS for key in question.conditions.values()}
    for claim in CLAIMS:
        assert {claim.better, *claim.than} <= asked
        assert claim.better not in claim.than
        assert claim.origin in ("paper", "control")
    assert {DOMINO, PLAIN} <= asked
