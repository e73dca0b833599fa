"""The written trees: readable by the ordinary data sets, written once, completed, replaced."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmseg.datasets import CityscapesDataset

from mmseg_domino.synthesis.weather import DepthFiles
from street_world import render, sample_scene, trees, write_street_world
from street_world.street.classes import LABEL_IDS

SIZE = (48, 96)


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def contents(root: Path) -> dict[str, bytes]:
    return {name: content for name, (content, _) in snapshot(root).items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("world")
    return write_street_world(root, 3, 2, SIZE, seed=4, workers=0, progress=False)


def test_cityscapes_dataset_reads_it(world):
    for split, count in (("train", 3), ("val", 2)):
        dataset = CityscapesDataset(
            data_root=str(world / "cityscapes"),
            data_prefix=dict(img_path=f"leftImg8bit/{split}", seg_map_path=f"gtFine/{split}"),
            pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")],
        )
        assert len(dataset) == count
        sample = dataset[0]
        assert sample["img"].shape == (*SIZE, 3)
        assert set(np.unique(sample["gt_seg_map"])) <= {*range(19), 255}


def test_pictures_are_the_rendered_ones(world):
    folder = world / "cityscapes"
    scene = sample_scene(4 * 10_000_000 + 1, SIZE)
    picture = render(scene, "clear_day")
    stem = "train/ministadt/ministadt_000001_000019"
    image = cv2.imread(str(folder / f"leftImg8bit/{stem}_leftImg8bit.png"))[..., ::-1]
    label = cv2.imread(str(folder / f"gtFine/{stem}_gtFine_labelTrainIds.png"), -1)
    np.testing.assert_array_equal(image, picture.image)
    np.testing.assert_array_equal(label, picture.label)
    numbers = cv2.imread(str(folder / f"gtFine/{stem}_gtFine_labelIds.png"), -1)
    known = label != 255
    np.testing.assert_array_equal(numbers[known], np.array(LABEL_IDS)[label[known]])


def test_disparity_and_camera_give_back_the_depth(world):
    """By the formulas of Cityscapes' documentation, as the fog of `synthesis` reads them."""
    folder = world / "cityscapes"
    files = DepthFiles(str(folder / "disparity/train"), camera_root=str(folder / "camera/train"))
    picture = render(sample_scene(4 * 10_000_000 + 1, SIZE), "clear_day")
    depth, _ = files.read("ministadt/ministadt_000001_000019")
    seen = np.isfinite(picture.depth) & (picture.label != 255) & (picture.depth < 60)
    np.testing.assert_allclose(depth[seen], picture.depth[seen], rtol=0.02)
    # Neither sky nor bonnet is measured: what reads the labels fills them in.
    assert np.isnan(depth[(picture.label == 10) | (picture.label == 255)]).all()


def test_acdc_layout(world):
    for condition in ("fog", "night", "rain", "snow"):
        images = sorted((world / f"acdc/rgb_anon/{condition}/val").glob("*/*_rgb_anon.png"))
        assert len(images) == 2
        for path in images:
            stem = path.name.removesuffix("_rgb_anon.png")
            label = world / f"acdc/gt/{condition}/val" / path.parent.name
            assert (label / f"{stem}_gt_labelTrainIds.png").is_file()
            reference = world / f"acdc/rgb_anon/{condition}/val_ref" / path.parent.name
            assert (reference / f"{stem}_rgb_ref_anon.png").is_file()
        assert not (world / f"acdc/rgb_anon/{condition}/train").exists()


def test_training_sees_clear_days_only(world):
    captions = {}
    for path in (world / "captions/train").glob("*.json"):
        captions |= json.loads(path.read_text())
    assert len(captions) == 3
    assert {entry["domain"] for entry in captions.values()} == {"clear_day"}
    assert all((world / name).is_file() for name in captions)


def test_second_call_writes_nothing(world):
    before = snapshot(world)
    write_street_world(world, 3, 2, SIZE, seed=4, workers=0, progress=False)
    assert snapshot(world) == before


def test_interrupted_world_is_completed(world, tmp_path, monkeypatch):
    write, calls = trees._write_job, []

    def failing(job):
        calls.append(job)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(job)

    monkeypatch.setattr(trees, "_write_job", failing)
    with pytest.raises(KeyboardInterrupt):
        write_street_world(tmp_path, 3, 2, SIZE, seed=4, workers=0, progress=False)
    done = snapshot(tmp_path)
    write_street_world(tmp_path, 3, 2, SIZE, seed=4, workers=0, progress=False)
    assert len(calls) == 3 + 3  # the two scenes that were finished are not drawn again
    after = snapshot(tmp_path)
    assert {
        name: value for name, value in after.items() if name in done and "json" not in name
    } == {name: value for name, value in done.items() if "json" not in name}
    assert contents(tmp_path) == contents(world)


def test_changed_parameters_replace_the_world(world, tmp_path):
    write_street_world(tmp_path, 4, 1, SIZE, seed=5, workers=0, progress=False)
    (tmp_path / "cityscapes" / "notes.txt").write_text("mine")
    write_street_world(tmp_path, 3, 2, SIZE, seed=4, workers=0, progress=False)
    assert (tmp_path / "cityscapes" / "notes.txt").read_text() == "mine"
    (tmp_path / "cityscapes" / "notes.txt").unlink()
    assert contents(tmp_path) == contents(world)


def test_processes_write_the_same_bytes(world, tmp_path):
    write_street_world(tmp_path, 3, 2, SIZE, seed=4, workers=2, progress=False)
    assert contents(tmp_path) == contents(world)


def test_bad_numbers_are_named(tmp_path):
    with pytest.raises(ValueError, match="val is -2"):
        write_street_world(tmp_path, val=-2)
    with pytest.raises(ValueError, match=r"\(8, 8\)"):
        write_street_world(tmp_path, size=(8, 8))
    assert not list(tmp_path.iterdir())
