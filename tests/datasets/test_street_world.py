"""The procedural world is an ordinary Cityscapes and ACDC tree to the ordinary classes."""

import pytest
from mmseg.datasets import CityscapesDataset

from mmseg_domino.datasets.acdc import ACDC_CONDITIONS, ACDCDataset
from mmseg_domino.datasets.checking import check_dataset
from street_world import write_street_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("street")
    return write_street_world(root, train=1, val=1, size=(64, 128), workers=0, progress=False)


def test_acdc(world):
    checks = check_dataset(ACDCDataset(data_root=str(world / "acdc")))
    assert [c.group for c in checks] == [f"acdc/{c}" for c in ACDC_CONDITIONS]
    assert all(c.ok and c.sizes == {(128, 64): 1} for c in checks)


def test_cityscapes(world):
    for split in ("train", "val"):
        (check,) = check_dataset(
            CityscapesDataset(
                data_root=str(world / "cityscapes"),
                data_prefix=dict(img_path=f"leftImg8bit/{split}", seg_map_path=f"gtFine/{split}"),
                pipeline=[dict(type="SetDomain", dataset="cityscapes", domain="clear_day")],
            )
        )
        assert check.ok
        assert (check.group, check.labelled) == ("cityscapes/clear_day", 1)
