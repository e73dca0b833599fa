"""Reading results: the right figures, and a clear message instead of a wrong number."""

import json

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

from mmseg_domino.metrics import ResultsError, load_results
from mmseg_domino.metrics.confusion import miou_from_counts
from mmseg_domino.metrics.per_image import load_per_image

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
        (lambda data: data.pop("classes"), "checksum does not fit"),
        (lambda data: data["groups"]["acdc/fog"].pop("mIoU"), "checksum does not fit"),
        (change(groups={}), "checksum does not fit"),
        (change(source="acdc/fog"), "checksum does not fit"),
        (change_group(confusion=[[1] * 19] * 19), "checksum does not fit"),
        (change_group(mIoU=44.55), "checksum does not fit"),
        (change_group(num_images=7), "checksum does not fit"),
        (change_summary(mean_of_domains=44.55), "checksum does not fit"),
        (change(sha256="0" * 64), "checksum does not fit"),
        (lambda data: data.pop("sha256"), "checksum does not fit"),
    ],
)
def test_damaged_results_are_refused(work, damage, message):
    file = work / "results.json"
    data = json.loads(file.read_text())
    damage(data)
    file.write_text(json.dumps(data))
    with pytest.raises(ResultsError, match=f"(?s)run/results.json.*{message}"):
        load_results(work)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data.pop("classes"), r"key 'classes' is missing"),
        (change(groups=[1]), "not what a test writes"),
        (change(groups={"fog": {}}), "expected 'dataset/domain'"),
    ],
)
def test_what_is_no_result_is_refused_even_with_a_checksum(work, damage, message):
    data = json.loads((work / "results.json").read_text())
    damage(data)
    fake.seal(work, data)
    with pytest.raises(ResultsError, match=f"(?s)run/results.json.*{message}"):
        load_results(work)


@pytest.mark.parametrize("content", ["[1]", '"text"', "7"])
def test_json_that_is_no_object_is_refused(work, content):
    (work / "results.json").write_text(content)
    with pytest.raises(ResultsError, match=r"results\.json: not what a test writes"):
        load_results(work)


def test_the_figures_of_a_file_are_those_of_its_confusions(work, tested):
    """The file's were computed by the test's own few lines."""
    results, stated = load_results(work), fake.results_of(tested)
    for key, group in results.groups.items():
        expected = stated["groups"][key]
        for name, value in (("iou", group.iou), ("acc", group.acc), ("mIoU", group.miou),
                            ("mAcc", group.macc), ("aAcc", group.aacc)):  # fmt: skip
            np.testing.assert_allclose(value, np.array(expected[name], float), err_msg=name)
    for name in ("mean_of_domains", "pooled", "relative_mean_of_domains", "relative_pooled"):
        figure = results.figures[f"acdc/{name}"]
        assert figure.value == pytest.approx(stated["summary"]["acdc"][name])
        assert results.figures[f"targets/{name}"].value == pytest.approx(figure.value)


def test_counts_of_another_run_are_refused(work, tmp_path, tested):
    """They gave a mIoU of 9.29 with an interval from 3.58 to 4.25."""
    frames = fake.frames(tmp_path / "data", seed=5)
    other = fake.write_run(tmp_path / "other", frames)
    (other / "per_image.safetensors").replace(work / "per_image.safetensors")
    with pytest.raises(ResultsError, match=r"per_image\.safetensors is not the file"):
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


def test_damaged_counts_by_image_are_refused(work):
    file = work / "per_image.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ResultsError, match=r"per_image\.safetensors is not the file"):
        load_results(work)
    with pytest.raises(ResultsError, match=r"per_image\.safetensors: damaged"):
        load_per_image(file)
