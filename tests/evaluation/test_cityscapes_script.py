"""The figures are those of Cityscapes' own evaluation script on the same predictions."""

import numpy as np
import pytest
from PIL import Image

from mmseg_domino.evaluation import DomainIoUMetric
from mmseg_domino.evaluation.predictions import SubmissionWriter

from .samples import CLASSES, predicted, run

script = pytest.importorskip(
    "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling",
    reason="cityscapesscripts is not installed",
)


def test_equals_the_official_script(tmp_path, monkeypatch):
    """Class by class to 1e-6, from labelId files as the server takes them."""
    samples = [predicted("cityscapes/clear_day", i, size=(40, 60)) for i in range(4)]
    writer = SubmissionWriter("cityscapes", tmp_path / "predictions", images=4, size=(40, 60))
    table = np.append(writer._table[:19], 0)  # ignored pixels are labelId 0, 'unlabeled'
    predictions, truths = [], []
    for i, sample in enumerate(samples):
        stem = f"frankfurt_00000{i}_000019"
        label = sample.gt_sem_seg.data[0].numpy()
        truth = tmp_path / f"{stem}_gtFine_labelIds.png"
        Image.fromarray(table[np.where(label == 255, 19, label)].astype(np.uint8)).save(truth)
        truths.append(str(truth))
        prediction = sample.pred_sem_seg.data[0].numpy()
        predictions.append(str(writer.write(f"{stem}_leftImg8bit.png", prediction)))
    args = script.args
    monkeypatch.setattr(args, "quiet", True)
    monkeypatch.setattr(args, "evalInstLevelScore", False)
    monkeypatch.setattr(args, "evalPixelAccuracy", False)
    monkeypatch.setattr(args, "JSONOutput", False)
    official = script.evaluateImgLists(predictions, truths, args)
    metric = DomainIoUMetric()
    figures = run(metric, samples)
    ours = metric.last_results.groups["cityscapes/clear_day"]
    for name, iou in zip(CLASSES, ours.iou, strict=True):
        assert iou / 100 == pytest.approx(official["classScores"][name], abs=1e-6)
    assert figures["mIoU"] / 100 == pytest.approx(official["averageScoreClasses"], abs=1e-6)
