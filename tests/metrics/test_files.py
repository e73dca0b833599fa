"""Reading results: the right figures, and a clear message instead of a wrong number."""

import json

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

from mmseg_domino.metrics import (
    PerImage,
    ResultsError,
    load_per_image,
    load_results,
    miou_from_counts,
    parse_results,
)

from ..reporting import fake


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    return fake.frames(tmp_path_factory.mktemp("data"))


@pytest.fixture
def work(tmp_path, tested):
    return fake.write_run(tmp_path / "run", tested)


def test_figures_are_those_of_the_file(work, tested):
    results = load_results(work)
    assert results.classes == fake.CLASSES
    assert list(results.groups) == list(dict.fromkeys(f.group for f in tested))
    night = results.groups["acdc/night"]
    assert night.confusion.sum() == sum(
        (f.label != fake.IGNORED).sum() for f in tested if f.group == "acdc/night"
    )
    source = results.source_group
    relative = results.relative(night.key)
    assert relative.value == pytest.approx(100 * night.miou / source.miou)
    assert relative.interval[0] < relative.value < relative.interval[1]
    assert results.relative(source.key) is None
    label, miou, relative = results.headline
    assert label == "acdc, mean of domains"
    assert miou.value == pytest.approx(np.mean([g.miou for g in results.targets.values()]))
    assert relative.value == pytest.approx(100 * miou.value / source.miou)
    assert set(results.targets) == set(results.groups) - {"cityscapes/clear_day"}


def test_a_file_or_its_folder(work):
    assert load_results(work).groups.keys() == load_results(work / "results.json").groups.keys()


def test_miou_of_each_image_agrees_with_torchmetrics(work, tested):
    counts = load_results(work).images
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
    assert np.isnan(miou_from_counts(np.zeros((1, 3, 19)))).all()


def test_missing_file_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="domino test"):
        load_results(tmp_path)
    assert load_per_image(tmp_path / "per_image.safetensors") is None


def test_truncated_json(work):
    file = work / "results.json"
    file.write_text(file.read_text()[:1000])
    with pytest.raises(ResultsError, match=r"results\.json: not valid JSON"):
        load_results(work)


def change(**values):
    return lambda data: data.update(values)


def change_group(**values):
    return lambda data: data["groups"]["acdc/fog"].update(values)


def change_summary(**values):
    return lambda data: data["summary"]["acdc"].update(values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change(format="mmseg_domino.results/9"), r"results/9.*this version reads"),
        (lambda data: data.pop("classes"), r"key 'classes' is missing"),
        (lambda data: data["groups"]["acdc/fog"].pop("mIoU"), r"key 'mIoU' is missing"),
        (change(groups={}), "nothing was tested"),
        (change(groups=[1]), "not what a test writes"),
        (change(groups={"fog": 1}), "expected 'dataset/domain'"),
        (change(source="kitti/day"), r"source 'kitti/day' is not among"),
        (change(palette=[[0, 0, 0]]), "1 palette colours for 19 classes"),
        (change_group(confusion=[[1, 2], [3, 4]]), r"acdc/fog.*shape \(2, 2\)"),
        (change_group(confusion=[[0.5] * 19] * 19), r"acdc/fog.*whole numbers"),
        (change_group(confusion=[[-1] * 19] * 19), r"acdc/fog.*negative"),
        (change_group(iou=[50.0] * 18), r"acdc/fog.*iou has 18 values"),
        (change_group(iou=[50.0] * 19), r"acdc/fog.*iou\[0\] is 50.000, but the confusion gives"),
        (change_group(acc=[50.0] * 19), r"acdc/fog.*acc\[0\] is 50.000, but the confusion gives"),
        (change_group(mIoU=44.55), r"acdc/fog.*mIoU is 44.550, but the confusion gives"),
        (change_group(mIoU=None), r"acdc/fog.*mIoU is nan"),
        (change_group(mAcc=44.55), r"acdc/fog.*mAcc is 44.550, but the confusion gives"),
        (change_group(aAcc=44.55), r"acdc/fog.*aAcc is 44.550, but the confusion gives"),
        (change_group(domain="night"), r"acdc/fog.*says it is acdc/night"),
        (change_group(num_images=7), r"acdc/fog.*the 6 images.*confusion of 7"),
        (change_summary(mean_of_domains=44.55), "summary of 'acdc': mean_of_domains is 44.550"),
        (change_summary(pooled=44.55), "summary of 'acdc': pooled is 44.550"),
        (change_summary(relative_pooled=44.55), "summary of 'acdc': relative_pooled is 44.550"),
        (change(targets={"pooled": 44.55}), "targets: pooled is 44.550"),
        (change(overall={"mIoU": 44.55}), "overall: mIoU is 44.550"),
        (change(sha256="0" * 64), "checksum does not fit"),
    ],
)
def test_damaged_results_are_refused(work, damage, message):
    file = work / "results.json"
    data = json.loads(file.read_text())
    damage(data)
    file.write_text(json.dumps(data))
    with pytest.raises(ResultsError, match=f"(?s)run/results.json.*{message}"):
        load_results(work)


def test_a_swapped_confusion_is_refused_by_the_images(work):
    """Two confusions that changed places with all their figures fit in themselves."""
    file = work / "results.json"
    data = json.loads(file.read_text())
    fog, night = (data["groups"][key] for key in ("acdc/fog", "acdc/night"))
    for name in ("confusion", "iou", "acc", "mIoU", "mAcc", "aAcc"):
        fog[name], night[name] = night[name], fog[name]
    file.write_text(json.dumps(data))
    with pytest.raises(ResultsError, match=r"6 images .* do not add up"):
        load_results(work)


def test_counts_of_another_run_are_refused(work, tmp_path, tested):
    """They gave a mIoU of 9.29 with an interval from 3.58 to 4.25."""
    frames = fake.frames(tmp_path / "data", seed=5)
    other = fake.write_run(tmp_path / "other", frames)
    (other / "per_image.safetensors").replace(work / "per_image.safetensors")
    with pytest.raises(ResultsError, match=r"results\.json: .*do not add up to the confusion"):
        load_results(work)


def _load_or_error(folder):
    try:
        return load_results(folder)
    except ResultsError as error:
        return error


@pytest.mark.parametrize("file", ["results.json", "per_image.safetensors"])
def test_no_flipped_bit_of_a_written_run_passes(tmp_path, file):
    """Whatever bit is flipped: refused with the file's name, or the numbers are the same."""
    from ..experiments.folders import write_run

    write_run(tmp_path)
    expected = load_results(tmp_path)
    whole = (tmp_path / file).read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for _ in range(120):
        flipped = bytearray(whole)
        flipped[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        (tmp_path / file).write_bytes(flipped)
        found = _load_or_error(tmp_path)
        if isinstance(found, ResultsError):
            refused += 1
            assert str(tmp_path) in str(found)
        else:
            assert found.figures == expected.figures
            assert found.images.images == expected.images.images
    assert refused > 100


def test_without_counts_by_image_the_intervals_are_those_of_the_file(work, tested):
    (work / "per_image.safetensors").unlink()
    results = load_results(work)
    stated = fake.results_of(tested)["groups"]["acdc/fog"]["ci"]["mIoU"]
    assert results.miou("acdc/fog").interval == pytest.approx(tuple(stated))
    assert results.measured == {}


def test_counts_by_image_of_other_classes_or_damaged(work, tested):
    images = load_results(work).images
    other = PerImage(images.images, images.groups, fake.CLASSES[::-1], images.counts)
    with pytest.raises(ResultsError, match="the same classes in another order"):
        parse_results(fake.results_of(tested), images=other)
    file = work / "per_image.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ResultsError, match=r"per_image\.safetensors: damaged"):
        load_results(work)


def test_rounded_figures_are_accepted(tested):
    data = fake.results_of(tested)
    for group in data["groups"].values():
        group["iou"] = [None if v is None else round(v, 2) for v in group["iou"]]
    assert parse_results(json.loads(json.dumps(data))).groups
