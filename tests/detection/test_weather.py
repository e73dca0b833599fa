"""Weather by rule on a detector's training images: boxes and masks stay."""

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import DefaultScope

from mmseg_domino.detection import PackDominoDetInputs
from street_world import render, sample_scene

SIZE = (64, 128)
STEPS = [
    dict(type="DrawWeather", prob=1.0, domains=("fog",), visibility=(60, 80)),
    dict(type="mmdet.Resize", scale=(192, 96), keep_ratio=True),
    dict(type="mmdet.RandomFlip", prob=1.0),
    dict(type="mmdet.RandomCrop", crop_size=(100, 60), crop_type="absolute"),
    dict(type="RenderWeather"),
    dict(type="PackDominoDetInputs"),
]


def sample():
    picture = render(sample_scene(3, SIZE), "clear_day")
    mask = (picture.label == 13).astype(np.uint8)
    rows, columns = np.nonzero(mask)
    box = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
    return dict(
        img=np.ascontiguousarray(picture.image[..., ::-1]), gt_seg_map=picture.label.copy(),
        img_path="a.png", img_shape=SIZE, ori_shape=SIZE, dataset="cityscapes", domain="clear_day",
        gt_bboxes=HorizontalBoxes(np.float32(box)), gt_bboxes_labels=np.array([2]),
        gt_ignore_flags=np.array([False]), gt_masks=BitmapMasks(mask[None], *SIZE),
    )  # fmt: skip


def run(steps, results):
    np.random.seed(5)
    with DefaultScope.overwrite_default_scope("mmdet"):
        for step in steps:
            results = TRANSFORMS.build(step)(results)
    return results


def test_fog_comes_where_the_image_was_taken_from_and_objects_stay():
    foggy = run(STEPS, sample())
    plain = run([dict(STEPS[0], prob=0.0), *STEPS[1:]], sample())
    ours, theirs = foggy["data_samples"], plain["data_samples"]
    assert (ours.domain, theirs.domain) == ("fog", "clear_day")
    np.testing.assert_array_equal(
        ours.gt_instances.bboxes.tensor, theirs.gt_instances.bboxes.tensor
    )
    assert foggy["inputs"].shape == plain["inputs"].shape == (3, 60, 100)
    # the far road, at the top of the road's pixels, is the foggiest
    road = ours.gt_sem_seg.sem_seg[0] == 0
    change = (foggy["inputs"].float() - plain["inputs"].float()).abs().mean(0)
    rows, places = road.nonzero()[:, 0].float(), torch.arange(60)[:, None]
    far = change[road & (places < rows.quantile(0.2))].mean()
    near = change[road & (places > rows.quantile(0.8))].mean()
    assert far > 1.5 * near > 0


def test_without_changes_of_place_it_is_segmentations_fog():
    steps = [STEPS[0], STEPS[4]]
    detection = run(steps, sample())["img"]
    segmentation = run(steps, dict(sample(), seg_fields=["gt_seg_map"]))["img"]
    np.testing.assert_allclose(detection.astype(int), segmentation.astype(int), atol=2)


def test_places_follow_mmdets_transforms():
    from mmseg_domino.datasets.transforms.weather import _places_before

    results = dict(img=np.zeros((*SIZE, 3), np.uint8), img_shape=SIZE)
    results = Resize(scale=(256, 128), keep_ratio=True)(results)
    matrix = results["homography_matrix"]
    places = _places_before(matrix[0, ::2], 256, 128)
    np.testing.assert_allclose(places, (np.arange(256) + 0.5) / 256)


def test_labels_and_packing_are_asked_for():
    with pytest.raises(ValueError, match=r"with_seg=True.*seg="):
        run(STEPS[:1], dict(sample(), gt_seg_map=None))
    packed = PackDominoDetInputs(truth=True)(dict(sample(), instances=[1]))
    assert packed["data_samples"].instances == [1]
    bad = dict(sample(), domain_embedding=np.array([np.nan, 1], np.float32))
    with pytest.raises(ValueError, match=r"a\.png holds NaN"):
        PackDominoDetInputs()(bad)
