"""What every data set, also the host's, takes for data."""

import os
from pathlib import Path

import numpy as np
import pytest
from mmengine import fileio
from mmseg.registry import DATASETS
from PIL import Image

import mmseg_domino.plugin  # noqa: F401
from mmseg_domino.datasets.converters import convert_dataset

from .trees import write_pair

HIDDEN = (".ipynb_checkpoints/0-checkpoint", "a/.cache/a/0", "a/._0")
KINDS = {
    "CityscapesDataset": ("_leftImg8bit.png", "_gtFine_labelTrainIds.png", {}),
    "BDD100KDomainDataset": (".jpg", ".png", {}),
    "NightDrivingDataset": ("_leftImg8bit.png", "_gtCoarse_labelTrainIds.png", {}),
    "DarkZurichDataset": ("_rgb_anon.png", "_gt_labelTrainIds.png", {}),
    "ADE20KDataset": (".jpg", ".png", {}),
    "FolderDataset": (".png", ".png", {}),
    "ACDCDataset": ("_rgb_anon.png", "_gt_labelTrainIds.png", dict(conditions="fog")),
    "CamVidDataset": (".jpg", ".png", dict(conditions="day")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_folders_are_no_data_and_a_loop_is_met_once(tmp_path, kind):
    image, label, options = KINDS[kind]
    below = {"ACDCDataset": "fog/val/", "CamVidDataset": "day/val/"}.get(kind, "")
    for name in ("a/0", "b/0", *HIDDEN):
        write_pair(
            tmp_path / f"images/{below}{name}{image}", tmp_path / f"labels/{below}{name}{label}"
        )
    os.symlink("..", tmp_path / f"images/{below}a/again")
    os.symlink(".", tmp_path / f"images/{below}itself")
    os.symlink(tmp_path / f"images/{below}b", tmp_path / f"images/{below}linked")
    data = DATASETS.build(
        dict(
            type=kind,
            data_root=str(tmp_path),
            data_prefix=dict(img_path="images", seg_map_path="labels"),
            **options,
        )
    )
    paths = [data.get_data_info(i)["img_path"] for i in range(len(data))]
    root = tmp_path / "images" / below
    names = sorted(Path(path).relative_to(root).as_posix() for path in paths)
    assert names == [f"{place}/0{image}" for place in ("a", "b", "linked")]


def test_a_backend_made_before_the_plugin_lists_no_hidden_folders(tmp_path):
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden/a.png").touch()
    (tmp_path / "a.png").touch()
    listed = fileio.list_dir_or_file(str(tmp_path), list_dir=False, recursive=True)
    assert list(listed) == ["a.png"]
    # Folders, and one level alone, are listed as MMEngine lists them.
    assert set(fileio.list_dir_or_file(str(tmp_path))) == {".hidden", "a.png"}


def test_conversion_leaves_hidden_folders_out(tmp_path):
    for place in ("train/a", ".cache/train/a", "train/.trash"):
        folder = tmp_path / "gtFine" / place
        folder.mkdir(parents=True)
        Image.fromarray(np.full((4, 4), 7, np.uint8)).save(folder / "0_gtFine_labelIds.png")
    os.symlink("..", tmp_path / "gtFine/train/again")
    assert convert_dataset("cityscapes", tmp_path) == (1, 1)
    assert [p.parent.name for p in tmp_path.rglob("*_labelTrainIds.png")] == ["a"]
