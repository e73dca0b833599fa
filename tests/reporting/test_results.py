"""Reading results: the right figures, and a clear message instead of a wrong number."""

import json

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

from mmseg_domino.reporting import check_same_classes, load_per_image, load_results
from mmseg_domino.reporting.results import ResultsError, image_miou, parse_results

from . import fake


def test_figures_are_those_of_the_file(work, tested):
    results = load_results(work)
    assert results.classes == fake.CLASSES
    assert list(results.groups) == list(dict.fromkeys(f.group for f in tested))
    night = results.groups["acdc/night"]
    assert night.confusion.sum() == sum(
        (f.label != fake.IGNORED).sum() for f in tested if f.group == "acdc/night"
    )
    source = results.source_group
    assert results.relative(night) == pytest.approx(100 * night.miou / source.miou)
    assert results.relative(source) is None
    assert results.headline[0] == "acdc"
    assert set(results.targets) == set(results.groups) - {"cityscapes/clear_day"}


def test_a_file_or_its_folder(work):
    assert load_results(work).groups.keys() == load_results(work / "results.json").groups.keys()


def test_miou_of_each_image_agrees_with_torchmetrics(work, tested):
    counts = load_per_image(work, classes=fake.CLASSES)
    assert counts.images == tuple(str(f.path) for f in tested)
    for frame, miou in zip(tested, counts.miou, strict=True):
        valid = frame.label != fake.IGNORED
        truth, prediction = (
            torch.from_numpy(x[valid].astype(np.int64)) for x in (frame.label, frame.prediction)
        )
        by_class = multiclass_jaccard_index(prediction, truth, fake.N, average="none")
        present = torch.bincount(torch.cat([truth, prediction]), minlength=fake.N) > 0
        assert miou == pytest.approx(100 * by_class[present].mean().item(), abs=1e-4)


def test_an_image_without_labels_has_no_miou():
    zeros = np.zeros((1, 3), np.int64)
    assert np.isnan(image_miou(zeros, zeros, zeros)).all()


def test_missing_file_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="domino test"):
        load_results(tmp_path)
    assert load_per_image(tmp_path) is None


def test_truncated_json(work):
    file = work / "results.json"
    file.write_text(file.read_text()[:1000])
    with pytest.raises(ResultsError, match=r"results\.json: not valid JSON"):
        load_results(work)


def change(**values):
    return lambda data: data.update(values)


def change_group(**values):
    return lambda data: data["groups"]["acdc/fog"].update(values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change(format="mmseg_domino.results/9"), r"results/9.*this version reads"),
        (lambda data: data.pop("classes"), r"key 'classes' is missing"),
        (lambda data: data["groups"]["acdc/fog"].pop("mIoU"), r"key 'mIoU' is missing"),
        (change(groups={}), "nothing was tested"),
        (change(groups=[1]), "not what domino test writes"),
        (change(source="kitti/day"), r"source 'kitti/day' is not among"),
        (change(palette=[[0, 0, 0]]), "1 palette colours for 19 classes"),
        (change_group(confusion=[[1, 2], [3, 4]]), r"acdc/fog.*shape \(2, 2\)"),
        (change_group(confusion=[[0.5] * 19] * 19), r"acdc/fog.*whole numbers"),
        (change_group(confusion=[[-1] * 19] * 19), r"acdc/fog.*negative"),
        (change_group(iou=[50.0] * 18), r"acdc/fog.*iou has 18 values"),
        (change_group(iou=[50.0] * 19), r"acdc/fog.*its confusion gives"),
    ],
)
def test_damaged_results_are_refused(tested, damage, message):
    data = fake.results_of(tested)
    damage(data)
    with pytest.raises(ResultsError, match=f"(?s)w/results.json.*{message}"):
        parse_results(data, "w/results.json")


def test_runs_of_other_classes_are_not_compared(tested):
    first, second = fake.results_of(tested), fake.results_of(tested)
    second["classes"][3] = "rampart"
    with pytest.raises(ResultsError, match=r"b\.json cannot.*a\.json.*'wall'.*'rampart'"):
        check_same_classes([parse_results(first, "a.json"), parse_results(second, "b.json")])
    second["classes"] = first["classes"][::-1]
    second["groups"] = {
        k: {**g, **{x: g[x][::-1] for x in ("iou", "acc")},
            "confusion": [r[::-1] for r in g["confusion"][::-1]]}
        for k, g in second["groups"].items()
    }  # fmt: skip
    with pytest.raises(ResultsError, match="another order"):
        check_same_classes([parse_results(first, "a.json"), parse_results(second, "b.json")])


def test_counts_by_image_of_other_classes_or_damaged(work):
    with pytest.raises(ResultsError, match="another class set"):
        load_per_image(work, classes=["road", "sky"])
    file = work / "per_image.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ResultsError, match=r"per_image\.safetensors: damaged"):
        load_per_image(work)


def test_rounded_figures_are_accepted(tested):
    data = fake.results_of(tested)
    for group in data["groups"].values():
        group["iou"] = [None if v is None else round(v, 2) for v in group["iou"]]
    assert parse_results(json.loads(json.dumps(data))).groups
