import json
from pathlib import Path

import numpy as np
import pytest
from mmseg.datasets import CityscapesDataset
from PIL import Image

from mmseg_domino.cli import main
from mmseg_domino.datasets import ACDCDataset, BDD100KDomainDataset, FolderDataset
from mmseg_domino.datasets.checking import IMAGE_COUNTS, check_dataset, published_count

from .trees import write_acdc, write_pair

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path):
    return write_acdc(tmp_path / "acdc", images=3)


def check(tree, **kwargs):
    return {c.group: c for c in check_dataset(ACDCDataset(data_root=str(tree)), **kwargs)}


def test_a_sound_tree(tree):
    checks = check(tree)
    assert list(checks) == ["acdc/fog", "acdc/night", "acdc/rain", "acdc/snow"]
    for found in checks.values():
        assert (found.images, found.labelled, found.ok) == (3, 3, True)
        assert found.sizes == {(32, 24): 3}
        assert (found.expected_size, found.sizes_are_right) == ((1920, 1080), False)
        assert found.pixels.sum() + found.ignored == 3 * 24 * 32
    assert (checks["acdc/night"].expected, checks["acdc/night"].count_is_right) == (106, False)


def damage(tree):
    """One defect of each kind; the file it is in, and a part of the message."""
    labels = sorted((tree / "gt").rglob("*.png"))
    images = sorted((tree / "rgb_anon").rglob("*.png"))
    images[0].write_bytes(images[0].read_bytes()[:200])
    labels[1].unlink()
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(labels[2])
    Image.fromarray(np.full((24, 32), 33, np.uint8)).save(labels[3])
    Image.fromarray(np.full((24, 32, 3), (1, 2, 3), np.uint8)).save(labels[4])
    labels[5].write_bytes(b"")
    extra = labels[6].with_name("other_gt_labelTrainIds.png")
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(extra)
    return {
        images[0]: "is truncated",
        images[1]: "No such file",
        images[2]: "is 10x10 pixels, its image",
        images[3]: "out of range: 33",
        images[4]: "painted in colours",
        images[5]: "is empty",
    }, extra


@pytest.mark.parametrize("workers", [0, 2])
def test_every_defect_is_found(tree, workers):
    defects, extra = damage(tree)
    checks = check(tree, workers=workers).values()
    problems = {k: v for c in checks for k, v in c.problems.items()}
    assert set(problems) == {str(path) for path in defects}
    for path, message in defects.items():
        assert message in problems[str(path)]
    assert [o for c in checks for o in c.orphans] == [str(extra)]


def test_a_sample_of_the_images(tree):
    assert sum(c.labelled for c in check(tree, limit=4).values()) == 4
    assert sum(c.images for c in check(tree, limit=4).values()) == 12


@pytest.mark.parametrize(
    ("group", "path", "count"),
    [
        ("cityscapes/clear_day", "leftImg8bit/val/ulm/x.png", (500, False)),
        ("acdc/fog", "rgb_anon/fog/test/x/y.png", (500, True)),
        ("gta5/all", "images/1.png", (24964, False)),
        ("bdd100k/night", "images/10k/val/a.jpg", (1000, False)),
        ("mine/all", "val/1.png", (None, False)),
    ],
)
def test_published_counts(group, path, count):
    assert published_count(group, path) == count


def test_folders_above_the_data_root_name_no_split(tmp_path):
    root = tmp_path / "mnt/training/test/acdc"
    checks = check(write_acdc(root, images=1))
    assert checks["acdc/night"].expected == 106


def test_counts_of_a_data_set_are_of_all_its_groups(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        write_pair(tmp_path / f"images/val/{name}.jpg", tmp_path / f"labels/val/{name}.png")
    frames = [{"name": f"{n}.jpg", "attributes": {"timeofday": t}} for n, t in
              (("a", "night"), ("b", "daytime"), ("c", "night"))]  # fmt: skip
    (tmp_path / "attributes.json").write_text(json.dumps(frames))
    monkeypatch.setitem(IMAGE_COUNTS, "bdd100k", {"val": 3})
    dataset = BDD100KDomainDataset(
        data_root=str(tmp_path),
        data_prefix=dict(img_path="images/val", seg_map_path="labels/val"),
        attributes_file="attributes.json",
    )
    checks = {c.group: c for c in check_dataset(dataset)}
    assert {group: c.images for group, c in checks.items()} == {
        "bdd100k/night": 2,
        "bdd100k/daytime": 1,
    }
    assert all(c.count_is_right and (c.counted, c.expected) == (3, 3) for c in checks.values())
    assert not any(c.orphans for c in checks.values())


def test_orphans_of_a_sequence_without_images_are_charged_to_their_condition(tree):
    lost = tree / "gt/rain/val/GOPR99/GOPR99_frame_000001_gt_labelTrainIds.png"
    hidden = tree / "gt/rain/val/GOPR99/._GOPR99_frame_000001_gt_labelTrainIds.png"
    other_split = tree / "gt/snow/train/GOPR98/GOPR98_frame_000001_gt_labelTrainIds.png"
    for path in (lost, hidden, other_split):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((24, 32), np.uint8)).save(path)
    checks = check(tree)
    assert checks["acdc/rain"].orphans == [str(lost)]
    assert not any(checks[f"acdc/{c}"].orphans for c in ("fog", "night", "snow"))


def test_absent_classes_and_empty_labels_are_named(tree):
    for path in sorted((tree / "gt/fog").rglob("*.png")):
        Image.fromarray(np.zeros((24, 32), np.uint8)).save(path)
    empty = sorted((tree / "gt/snow").rglob("*.png"))[0]
    Image.fromarray(np.full((24, 32), 255, np.uint8)).save(empty)
    checks = check(tree)
    assert checks["acdc/fog"].absent == list(CityscapesDataset.METAINFO["classes"][1:])
    assert checks["acdc/rain"].absent == []
    (note,) = checks["acdc/snow"].notes.values()
    assert f"{empty} shows no class" in note
    assert checks["acdc/snow"].ok


def test_an_image_that_exif_turns_is_noted(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 3
    write_pair(tmp_path / "images/a.jpg", tmp_path / "labels/a.png")
    image = Image.open(tmp_path / "images/a.jpg")
    image.save(tmp_path / "images/a.jpg", exif=exif)
    (found,) = check_dataset(FolderDataset(data_root=str(tmp_path), img_suffix=".jpg"))
    assert "EXIF tag (orientation 3)" in next(iter(found.notes.values()))
    exif[0x112] = 6
    image.save(tmp_path / "images/a.jpg", exif=exif)
    (found,) = check_dataset(FolderDataset(data_root=str(tmp_path), img_suffix=".jpg"))
    assert "EXIF tag (orientation 6)" in next(iter(found.problems.values()))


def test_the_command(tree, tmp_path, capsys):
    config = tmp_path / "config.py"
    config.write_text(
        f"_base_ = {str(ROOT / 'configs/_base_/datasets/acdc.py')!r}\n"
        f"test_dataloader = dict(dataset=dict(_base_.acdc_val, data_root={str(tree)!r}))\n"
    )

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["data", "check", str(config), "--workers", "0", *arguments])
        return end.value.code, capsys.readouterr().out

    status, text = run("--any-count")
    assert (status, "published: 1920x1080" in text) == (1, True)
    status, text = run("--any-count", "--any-size")
    assert status == 0
    assert "acdc/night" in text
    assert "3 (published: 106)" in text
    assert run("--any-size")[0] == 1
    (tmp_path / "moved").symlink_to(tree)
    any_tree = ("--any-count", "--any-size")
    assert run(*any_tree, "--data-root", f"{tree}={tmp_path / 'moved'}")[0] == 0
    assert run(*any_tree, "--data-root", f"{tree}={tmp_path / 'nowhere'}")[0] == 1
    assert run(*any_tree, "--data-root", f"else={tree}")[0] == 1
    fog = run(*any_tree, "--cfg-options", "test_dataloader.dataset.conditions=fog")
    assert (fog[0], "acdc/fog" in fog[1], "acdc/night" in fog[1]) == (0, True, False)
    defects, _ = damage(tree)
    status, text = run("--show", "3", "--any-count", "--any-size")
    assert status == 1
    assert "... and 4 more" in text
    assert str(next(iter(defects))) in text.replace("\n", "")
