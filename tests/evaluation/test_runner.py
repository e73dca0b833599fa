"""The metric under the host's own runner, with a small stock model."""

import pytest
from mmengine.config import ConfigDict
from mmengine.runner import Runner

import mmseg_domino.datasets
import mmseg_domino.evaluation  # noqa: F401  (registers the metric)
from mmseg_domino.utils.journal import finished_images

from ..datasets.trees import write_acdc, write_cityscapes

PIPELINE = [
    dict(type="LoadCheckedImage"),
    dict(type="LoadCheckedAnnotations"),
    dict(type="PackDominoInputs"),
]
TTA = [
    dict(type="LoadCheckedImage"),
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="RandomFlip", prob=p, direction="horizontal") for p in (0.0, 1.0)],
            [dict(type="LoadCheckedAnnotations")],
            [dict(type="PackDominoInputs")],
        ],
    ),
]
MODEL = ConfigDict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", mean=[0] * 3, std=[255] * 3),
    backbone=dict(type="FastSCNN", out_indices=(0, 1, 2), norm_cfg=dict(type="BN")),
    decode_head=dict(
        type="FCNHead", in_channels=128, channels=16, num_classes=19, in_index=-1,
        norm_cfg=dict(type="BN"),
    ),
    test_cfg=dict(mode="whole"),
)  # fmt: skip


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    root = tmp_path_factory.mktemp("trees")
    write_cityscapes(root / "cityscapes", size=(64, 96))
    write_acdc(root / "acdc", conditions=("fog", "night"))
    return root


def run(trees, work_dir, tta=False, wrap=None, **metric):
    pipeline = TTA if tta else PIPELINE
    tags = [dict(type="SetDomain", dataset="cityscapes", domain="clear_day")]
    prefix = dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val")
    dataset = dict(
        type="ConcatDataset",
        datasets=[
            dict(type="CityscapesDataset", data_root=str(trees / "cityscapes"),
                 data_prefix=prefix, pipeline=tags + pipeline),
            dict(type="ACDCDataset", data_root=str(trees / "acdc"), conditions=("fog", "night"),
                 pipeline=pipeline),
        ],
    )  # fmt: skip
    model = ConfigDict(type="SegTTAModel", module=MODEL) if tta else MODEL
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        test_dataloader=dict(
            dataset=dataset if wrap is None else dict(dataset=dataset, **wrap),
            batch_size=1,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
        ),
        test_cfg=dict(type="TestLoop"),
        test_evaluator=dict(
            type="DomainIoUMetric", source="cityscapes/clear_day", intervals=False, **metric
        ),
        randomness=dict(seed=0),
        default_scope="mmseg",
        log_level="WARNING",
        experiment_name=f"{work_dir.name}-{tta}-{bool(wrap)}-{len(metric)}",
    )
    return runner.test()


@pytest.mark.parametrize("tta", [False, True])
def test_source_and_targets_in_one_pass(trees, tmp_path, tta):
    figures = run(trees, tmp_path, tta, results_file=str(tmp_path / "results.json"))
    assert {"cityscapes/clear_day/mIoU", "acdc/fog/mIoU", "acdc/night/mIoU"} <= set(figures)
    assert figures["acdc/relative_pooled"] > 0
    assert (tmp_path / "results.json").is_file()


def test_a_test_that_a_damaged_file_stopped_goes_on(trees, tmp_path):
    expected = run(trees, tmp_path / "whole")
    journal = str(tmp_path / "journal")
    (damaged,) = (trees / "acdc/rgb_anon/night").rglob("*_000000_rgb_anon.png")
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-40])
    with pytest.raises(ValueError, match=f"{damaged.name} is truncated"):
        run(trees, tmp_path / "broken", journal=journal)
    assert len(finished_images(journal)) == 4
    damaged.write_bytes(content)
    rest = dict(type="RemainingDataset", journal=journal)
    resumed = dict(folder=journal, resume=True)
    assert run(trees, tmp_path / "again", wrap=rest, journal=resumed) == expected
