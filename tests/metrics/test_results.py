"""What is written can be read by who reads it."""

import numpy as np
import pytest

from mmseg_domino.evaluation import DomainIoUMetric, text_tables
from mmseg_domino.reporting import load_per_image, load_results

from ..evaluation.samples import CLASSES, mixed, predicted, run

SOURCE = "cityscapes/clear_day"


def test_the_report_reads_what_the_metric_writes(tmp_path):
    metric = DomainIoUMetric(source=SOURCE, results_file=str(tmp_path / "results.json"))
    run(metric, mixed(images=4))
    ours, read = metric.last_results, load_results(tmp_path)
    assert list(read.groups) == list(ours.groups)
    for key, group in ours.groups.items():
        assert read.groups[key].miou == pytest.approx(group.miou)
        assert read.groups[key].interval == pytest.approx(group.interval)
        assert np.array_equal(read.groups[key].confusion, group.confusion)
    summary = ours.summary["acdc"]
    assert read.summary["acdc"].relative_pooled == summary.relative_pooled
    assert dict(read.summary["acdc"].intervals) == dict(summary.intervals)
    per_image = load_per_image(tmp_path, CLASSES)
    assert per_image.images == ours.table.images
    assert np.array_equal(per_image.label, ours.table.counts[:, 2])


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
    for part in (f"{SOURCE} (source)", "mean of domains", "pooled", "mean over data sets",
                 "traffic light", "mIoU2", "ECE (ratio)"):  # fmt: skip
        assert part in text
    row = next(line for line in text.splitlines() if line.startswith("| acdc/fog "))
    assert f"{metric.last_results.groups['acdc/fog'].miou:.2f} [" in text
    assert row
