"""What a detector's report shows besides numbers: example images with boxes and masks."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from pycocotools import mask as coco_mask

from ..engine import DominoReportHook, first_view, input_picture
from ..metrics import DetectionResults, load_detection_results
from ..reporting import (
    Selection,
    draw_objects,
    reduced,
    select_detection_examples,
    write_detection_report,
)
from .matching import encode_truth

#: Detections below this score are not drawn.
LEAST_SCORE = 0.3


@HOOKS.register_module()
class DetectionReportHook(DominoReportHook):
    """``DominoReportHook`` for detectors: examples, tables and the report after a test.

    Args:
        out_dir: Where ``report.html`` goes; ``None`` for no report.
        examples: How many of the best, of the median and of the worst images of each domain; 0 for
            none.
        long_side: Pixels of an example's longer side as it is stored.

    Raises:
        ValueError: If ``examples`` or ``long_side`` is negative or zero respectively.
        RuntimeError: After the test, if the metric wrote no results.
    """

    metric = "DomainDetectionMetric"

    def __init__(
        self, out_dir: str | None = None, examples: int = 1, long_side: int = 1024
    ) -> None:
        super().__init__(out_dir, examples, long_side, figures=False)

    def choose_examples(self, folder: Path) -> tuple[DetectionResults, list[Selection]] | None:
        results = load_detection_results(folder)
        if not results.matches:
            return None
        chosen = select_detection_examples(results, self.examples)
        return replace(results, images={}, matches={}), chosen

    def draw_example(
        self, sample: Mapping, output: DetDataSample, results: DetectionResults
    ) -> dict[str, np.ndarray]:
        image, truth = first_view(sample)
        size = tuple(truth.ori_shape[:2])
        plain = input_picture(image, truth.img_path, size)
        found = output.pred_instances.cpu().numpy()
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
        pictures = {
            "image": plain,
            "prediction": draw_objects(plain, found.bboxes, names, colours, masks),
            "truth": draw_objects(plain, real, [results.classes[i] for i in labels],
                                  [results.palette[i] for i in labels], outlines),
        }  # fmt: skip
        return {part: reduced(picture, self.long_side) for part, picture in pictures.items()}

    make_report = staticmethod(write_detection_report)
