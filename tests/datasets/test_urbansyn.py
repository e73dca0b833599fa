"""UrbanSyn's names and classes."""

import numpy as np
from mmseg.datasets import CityscapesDataset
from PIL import Image

from mmseg_domino.datasets import LoadCheckedAnnotations, UrbanSynDataset

from .trees import write_pair

#: The authors' table: name, trainId and colour of the 19 classes of `ss` and `ss_colour`.
TABLE = [
    ("road", 0, (128, 64, 128)), ("sidewalk", 1, (244, 35, 232)), ("building", 2, (70, 70, 70)),
    ("wall", 3, (102, 102, 156)), ("fence", 4, (190, 153, 153)), ("pole", 5, (153, 153, 153)),
    ("traffic light", 6, (250, 170, 30)), ("traffic sign", 7, (220, 220, 0)),
    ("vegetation", 8, (107, 142, 35)), ("terrain", 9, (152, 251, 152)), ("sky", 10, (70, 130, 180)),
    ("person", 11, (220, 20, 60)), ("rider", 12, (255, 0, 0)), ("car", 13, (0, 0, 142)),
    ("truck", 14, (0, 0, 70)), ("bus", 15, (0, 60, 100)), ("train", 16, (0, 80, 100)),
    ("motorcycle", 17, (0, 0, 230)), ("bicycle", 18, (119, 11, 32)),
]  # fmt: skip


def test_its_classes_are_the_authors_table():
    meta = UrbanSynDataset.METAINFO or CityscapesDataset.METAINFO
    found = zip(meta["classes"], range(19), map(tuple, meta["palette"]), strict=True)
    assert list(found) == TABLE


def test_images_meet_their_labels_and_void_is_ignored(tmp_path):
    for number in (1, 2):
        write_pair(tmp_path / f"rgb/rgb_{number:04}.png", tmp_path / f"ss/ss_{number:04}.png",
                   classes=range(20))  # fmt: skip
    dataset = UrbanSynDataset(data_root=str(tmp_path), pipeline=[])
    info = dataset.get_data_info(1)
    assert info["seg_map_path"] == str(tmp_path / "ss/ss_0002.png")
    assert (info["dataset"], info["domain"]) == ("urbansyn", "all")
    raw = np.array(Image.open(info["seg_map_path"]))
    loaded = LoadCheckedAnnotations()(dict(info, seg_fields=[]))["gt_seg_map"]
    assert (raw == 19).any()
    assert np.array_equal(loaded, np.where(raw == 19, 255, raw))


def test_the_class_list_is_that_of_the_data_set(tmp_path):
    write_pair(tmp_path / "rgb/rgb_0001.png", tmp_path / "ss/ss_0001.png")
    dataset = UrbanSynDataset(data_root=str(tmp_path), pipeline=[])
    assert list(dataset.metainfo["classes"]) == [name for name, *_ in TABLE]
