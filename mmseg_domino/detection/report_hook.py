"""What a detector's report shows besides numbers: example images with boxes and masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dataset import pseudo_collate
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from pycocotools import mask as coco_mask

from ..engine import DominoReportHook, first_view, input_picture
from ..metrics import DetectionResults, load_detection_results
from ..reporting import (
    draw_objects,
    select_detection_examples,
    write_detection_example,
    write_detection_index,
    write_detection_report,
)
from .matching import encode_truth

#: Detections below this score are not drawn.
LEAST_SCORE = 0.3


@HOOKS.register_module()
class DetectionReportHook(DominoReportHook):
    """``DominoReportHook`` for detectors; it draws no figures for the visualiser.

    Args:
        out_dir: See ``DominoReportHook``, as for the arguments that follow.
        examples: See there.
        long_side: See there.
    """

    metric, make_report = "DomainDetectionMetric", staticmethod(write_detection_report)

    def __init__(
        self, out_dir: str | None = None, examples: int = 1, long_side: int = 1024
    ) -> None:
        super().__init__(out_dir, examples, long_side, figures=False)

    def choose_examples(self, folder: Path) -> tuple[DetectionResults, list]:
        results = load_detection_results(folder)
        return results, select_detection_examples(results, self.examples)

    def make_example(self, target, number, chosen, runner, finder, results) -> Any:
        pictures = _pictures(runner, finder.find(chosen), results)
        return write_detection_example(target, number, chosen, pictures, self.long_side)

    def list_examples(self, target: Path, results: Any, written: list) -> None:
        write_detection_index(target, written)


@torch.no_grad()
def _pictures(runner: Runner, sample: Mapping, results: DetectionResults) -> dict:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    model.eval()
    image, truth = first_view(sample)
    size = tuple(truth.ori_shape[:2])
    plain = input_picture(image, truth.img_path, size)
    found = model.test_step(pseudo_collate([sample]))[0].pred_instances.cpu().numpy()
    found = found[found.scores >= LEAST_SCORE]
    colours = [results.palette[label] for label in found.labels]
    names = [f"{results.classes[label]} {score:.2f}"
             for label, score in zip(found.labels, found.scores, strict=True)]  # fmt: skip
    masks = np.asarray(found.masks, bool) if "masks" in found and len(found) else None
    instances = [item for item in truth.get("instances", ()) if not item["ignore_flag"]]
    real = np.array([item["bbox"] for item in instances], np.float32).reshape(-1, 4)
    labels = [item["bbox_label"] for item in instances]
    outlines = None
    if "segm" in results.kinds and instances:
        outlines = [coco_mask.decode(encode_truth(i["mask"], size)) > 0 for i in instances]
    return {
        "input": plain,
        "prediction": draw_objects(plain, found.bboxes, names, colours, masks),
        "truth": draw_objects(plain, real, [results.classes[i] for i in labels],
                              [results.palette[i] for i in labels], outlines),
    }  # fmt: skip
