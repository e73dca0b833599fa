from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmseg_domino.cli import main
from mmseg_domino.datasets import ACDCDataset
from mmseg_domino.datasets.checking import check_dataset, expected_count

from .trees import write_acdc

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
        ("cityscapes/clear_day", "data/cityscapes/leftImg8bit/val/ulm/x.png", 500),
        ("acdc/fog", "data/acdc/rgb_anon/fog/test/x/y.png", 500),
        ("gta5/all", "data/gta5/images/1.png", 24966),
        ("mine/all", "data/mine/val/1.png", None),
    ],
)
def test_published_counts(group, path, count):
    assert expected_count(group, path) == count


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
    defects, _ = damage(tree)
    status, text = run("--show", "3", "--any-count", "--any-size")
    assert status == 1
    assert "... and 4 more" in text
    assert str(next(iter(defects))) in text.replace("\n", "")
