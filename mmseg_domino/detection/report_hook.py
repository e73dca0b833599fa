"""What a detector's report shows besides numbers: example images with boxes and masks."""

import time
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_gather_object, barrier, broadcast_object_list, get_dist_info
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from pycocotools import mask as coco_mask

from ..engine import ImageFinder, first_view, input_picture, write_tables
from ..metrics import DetectionResults, load_detection_results
from ..reporting import (
    EXAMPLES_FOLDER,
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
class DetectionReportHook(Hook):
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

    priority = "VERY_LOW"

    def __init__(
        self, out_dir: str | None = None, examples: int = 1, long_side: int = 1024
    ) -> None:
        if examples < 0 or long_side < 1:
            raise ValueError(
                f"examples must be at least 0 and long_side at least 1, got {examples}, {long_side}"
            )
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.examples, self.long_side = examples, long_side
        self._started = 0.0

    def before_test(self, runner: Runner) -> None:
        self._started = time.time()

    def after_test(self, runner: Runner) -> None:
        folder = Path(runner.work_dir)
        barrier()  # rank 0 writes the results
        file = folder / "results.json"
        if not file.is_file() or file.stat().st_mtime < self._started - 2:
            raise RuntimeError(
                f"the test wrote no {file}, so there is nothing to report; the config's "
                "test_evaluator must be DomainDetectionMetric"
            )
        rank, _ = get_dist_info()
        if rank == 0:
            write_tables(runner.work_dir)
        if self.examples:
            self._collect(runner, folder)
        if rank == 0 and self.out_dir is not None:
            page = write_detection_report([folder], self.out_dir)
            print_log(f"The report is {page}", "current")

    def _collect(self, runner: Runner, folder: Path) -> None:
        """Predict the chosen images again and store them drawn, each process its share."""
        rank, world = get_dist_info()
        plan: list = [None]
        if rank == 0:
            results = load_detection_results(folder)
            plan = [(results, select_detection_examples(results, self.examples))]
        broadcast_object_list(plan)
        results, chosen = plan[0]
        finder = ImageFinder(runner.test_dataloader.dataset)
        target = folder / EXAMPLES_FOLDER
        written = [
            write_detection_example(
                target, number, chosen[number],
                _pictures(runner, finder.find(chosen[number]), results), self.long_side,
            )
            for number in range(rank, len(chosen), world)
        ]  # fmt: skip
        parts = zip_longest(*all_gather_object(written))
        if rank == 0:
            found = [example for part in parts for example in part if example is not None]
            write_detection_index(target, found)
        barrier()


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
