"""What a test writes is what is read."""

import numpy as np

from mmseg_domino.evaluation import DomainIoUMetric
from mmseg_domino.metrics import load_results
from mmseg_domino.metrics.files import to_json
from mmseg_domino.reporting import text_tables

from ..evaluation.samples import CLASSES, mixed, predicted, run

SOURCE = "cityscapes/clear_day"


def test_reading_gives_what_was_written(tmp_path):
    metric = DomainIoUMetric(
        source=SOURCE, calibration=True, class_subsets={"mIoU2": CLASSES[:2]},
        results_file=str(tmp_path / "results.json"), run={"name": "x"},
    )  # fmt: skip
    run(metric, mixed(images=4))
    ours, read = metric.last_results, load_results(tmp_path)
    assert to_json(read) == to_json(ours)
    assert read.metrics() == ours.metrics()
    assert list(read.groups) == list(ours.groups)
    assert read.figures == ours.figures
    assert read.images.images == ours.images.images
    assert np.array_equal(read.images.counts, ours.images.counts)
    assert {"acdc/fog/relative_mIoU", "source/mIoU", "acdc/fog/mIoU2"} <= set(read.metrics())
    data = to_json(read)["groups"]["acdc/fog"]
    assert data["ci"]["relative_mIoU"] == list(read.relative("acdc/fog").interval)


def test_a_group_without_a_labelled_pixel_has_no_figures(tmp_path):
    blank = predicted("acdc/night", 0)
    blank.gt_sem_seg.data.fill_(255)
    metric = DomainIoUMetric(source=SOURCE, results_file=str(tmp_path / "results.json"))
    figures = run(metric, [predicted("acdc/fog", 0), blank])
    assert np.isnan(figures["acdc/night/mIoU"])
    assert np.isnan(load_results(tmp_path).groups["acdc/night"].miou)


def test_tables_name_source_averages_and_classes():
    metric = DomainIoUMetric(source=SOURCE, calibration=True, class_subsets={"mIoU2": CLASSES[:2]})
    run(metric, mixed(images=3))
    text = text_tables(metric.last_results)
    for part in (f"{SOURCE} (source)", "acdc, mean of domains", "acdc, pooled",
                 "all targets, mean of domains", "traffic light", "mIoU2",
                 "Expected calibration error", "fewer than 30 images"):  # fmt: skip
        assert part in text
    row = next(line for line in text.splitlines() if line.startswith("acdc/fog  ") and "*" in line)
    fog = metric.last_results.miou("acdc/fog")
    assert f"{fog.value:.2f}  {fog.interval[0]:.2f} to {fog.interval[1]:.2f}" in row
