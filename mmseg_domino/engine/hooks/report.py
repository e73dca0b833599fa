"""What a report shows besides numbers: example images, and figures for the visualiser.

Shapes: ``C`` logit channels, ``H W`` spatial.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_gather_object, barrier, get_dist_info
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner.amp import autocast
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ...datasets import RemainingDataset
from ...datasets.remaining import group_keys
from ...metrics import Results, RunResults, load_results
from ...page import figure_pixels
from ...reporting import (
    EXAMPLES_FOLDER,
    ExampleArrays,
    Selection,
    class_heat_map,
    clear_examples,
    domain_bars,
    domain_score_heat_map,
    select_examples,
    write_example,
    write_index,
    write_report,
)
from ...utils.images import read_image
from ...utils.processes import on_first
from ..record import write_tables


@HOOKS.register_module()
class DominoReportHook(Hook):
    """After a test, collect example images, draw figures and write the report.

    The best, median and worst images are known only when all are tested. So nothing is kept while
    the test runs: afterwards the few that were chosen are predicted once more and written to
    ``WORK_DIR/examples``, each process taking its share. The choice is exact, and the same for any
    number of processes and for a test that was resumed.

    Args:
        out_dir: Where ``report.html`` goes; ``None`` for no report.
        examples: How many of the best, of the median and of the worst images of each domain; 0 for
            none.
        long_side: Pixels of an example's longer side as it is stored.
        figures: Give the figures to the visualiser (TensorBoard, Weights & Biases, local files).

    Raises:
        ValueError: If ``examples`` or ``long_side`` is negative or zero respectively.
        RuntimeError: After the test, if the metric wrote no results.
    """

    priority = "VERY_LOW"
    #: What writes the results.
    metric = "DomainIoUMetric"

    def __init__(
        self,
        out_dir: str | None = None,
        examples: int = 1,
        long_side: int = 1024,
        figures: bool = True,
    ) -> None:
        if examples < 0 or long_side < 1:
            raise ValueError(
                f"examples must be at least 0 and long_side at least 1, got {examples}, {long_side}"
            )
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.examples, self.long_side, self.figures = examples, long_side, figures
        self._started = 0.0

    def before_test(self, runner: Runner) -> None:
        self._started = time.time()

    def after_test(self, runner: Runner) -> None:
        folder = Path(runner.work_dir)
        barrier()  # rank 0 writes the results
        file = folder / "results.json"
        # Clocks of file systems are coarse.
        if not file.is_file() or file.stat().st_mtime < self._started - 2:
            raise RuntimeError(
                f"the test wrote no {file}, so there is nothing to report; the config's "
                f"test_evaluator must be {self.metric}"
            )
        first = get_dist_info()[0] == 0
        if first:
            write_tables(runner.work_dir)  # first, whatever becomes of the report
        if self.examples:
            self.collect_examples(runner, folder)
        if first and self.figures:
            _draw_figures(runner, load_results(folder))
        if first and self.out_dir is not None:
            print_log(f"The report is {self.make_report([folder], self.out_dir)}", logger="current")

    def collect_examples(self, runner: Runner, folder: Path) -> None:
        """Predict the best, median and worst images of each domain again and store them.

        To be called by every process after a test.
        """
        rank, world = get_dist_info()
        target = folder / EXAMPLES_FOLDER
        results, chosen = on_first(lambda: self._prepare(folder))
        finder = ImageFinder(runner.test_dataloader.dataset)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.eval()
        written = []
        for selection in chosen[rank::world]:
            sample = finder.find(selection)
            with torch.no_grad(), autocast(enabled=runner.test_loop.fp16):
                output = model.test_step(pseudo_collate([sample]))[0]
            written.append(
                write_example(target, selection, self.draw_example(sample, output, results))
            )
        # Dealt out in turn, so gathered in turn.
        parts = zip_longest(*all_gather_object(written))
        if rank == 0:
            everything = [example for part in parts for example in part if example is not None]
            write_index(target, results.classes, everything)
        barrier()

    def _prepare(self, folder: Path) -> tuple[Results, list[Selection]]:
        clear_examples(folder / EXAMPLES_FOLDER)
        found = self.choose_examples(folder)
        if found is None:
            raise RuntimeError(
                f"{folder} has no counts by image, from which example images are chosen"
            )
        return found

    # What follows is another in detection.

    def choose_examples(self, folder: Path) -> tuple[Results, list[Selection]] | None:
        """The results, without what need not be sent to all processes, and the images."""
        results = load_results(folder)
        if results.images is None:
            return None
        return replace(results, images=None), select_examples(results.images, self.examples)

    def draw_example(
        self, sample: Mapping, output: SegDataSample, results: RunResults
    ) -> dict[str, np.ndarray | None]:
        """The pictures of an example by part."""
        image, truth = first_view(sample)
        prediction = _labels(output.pred_sem_seg.data)
        labels = None
        if "gt_sem_seg" in truth:
            labels = _labels(truth.gt_sem_seg.data)
            labels = np.where(labels < len(results.classes), labels, 255).astype(np.uint8)
        arrays = ExampleArrays(
            image=input_picture(image, truth.img_path, prediction.shape),
            prediction=prediction,
            truth=labels,
            confidence=_confidence(output, prediction),
        )
        return vars(arrays.reduced(self.long_side))

    make_report = staticmethod(write_report)


def _draw_figures(runner: Runner, results: RunResults) -> None:
    """Give the visualiser's backends the figures of a test."""
    # runner.iter would build the training loop, which needs the training set.
    step = runner.message_hub.get_info("iter", 0)
    drawn = {
        "domino_domains": domain_bars([results]),
        "domino_classes": class_heat_map(results),
        "domino_domain_scores": domain_score_heat_map(results),
    }
    for name, figure in drawn.items():
        if figure is not None:
            runner.visualizer.add_image(name, figure_pixels(figure), step=step)


class ImageFinder:
    """Finds a tested image in the data set again, by its path and group."""

    def __init__(self, dataset: Dataset) -> None:
        # A resumed test has the rest of the data set only; the best image may be in the other part.
        self.dataset = dataset.dataset if isinstance(dataset, RemainingDataset) else dataset
        self._index: dict[tuple[str, str], int] | None = None

    def find(self, selection: Selection) -> dict:
        """The sample as the test's pipeline makes it."""
        if self._index is None:
            self._index = {key: index for index, key in enumerate(group_keys(self.dataset))}
        # Samples that do not say where they are from belong to the metric's default group.
        for group in (selection.group, "None/None"):
            index = self._index.get((group, selection.image))
            if index is not None:
                return self.dataset[index]
        raise RuntimeError(
            f"{selection.image} of '{selection.group}' was tested but is not in the data set; "
            "results.json and the config's test_dataloader do not belong together"
        )


def first_view(sample: Mapping) -> tuple[Tensor, SegDataSample]:
    """Image and data sample; of several views (test-time augmentation) the largest not flipped."""
    inputs, samples = sample["inputs"], sample["data_samples"]
    if torch.is_tensor(inputs):
        return inputs, samples
    views = list(zip(inputs, samples, strict=True))
    upright = [view for view in views if not view[1].get("flip", False)]
    return max(upright or views, key=lambda view: view[0].shape[-1])


def _labels(data: Tensor) -> np.ndarray:
    return data.squeeze().to("cpu", torch.uint8).numpy()


def input_picture(image: Tensor, path: str, size: tuple[int, int]) -> np.ndarray:
    """What the model was shown, RGB, at the size of the prediction."""
    if image.dtype == torch.uint8 and image.shape[0] == 3:
        # The host's loader gives BGR.
        pixels = image.flip(0).permute(1, 2, 0).cpu().numpy()
    else:  # the pipeline normalised it
        pixels = read_image(path)
    resized = Image.fromarray(np.ascontiguousarray(pixels)).resize(size[::-1])
    return np.asarray(resized)


def _confidence(output: SegDataSample, prediction: np.ndarray) -> np.ndarray | None:
    """Probability of the predicted class, 0 to 255; ``None`` where the logits are not its own."""
    if "seg_logits" not in output:
        return None
    logits = output.seg_logits.data.float()
    if len(logits) == 1:
        positive = logits[0].sigmoid()
        return _to_bytes(torch.maximum(positive, 1 - positive))
    top, index = logits.softmax(dim=0).max(dim=0)
    # Under test-time augmentation the sample carries the logits of one view, not of the mean.
    if not np.array_equal(_labels(index), prediction):
        return None
    return _to_bytes(top)


def _to_bytes(ratio: Tensor) -> np.ndarray:
    return (255 * ratio).round().to("cpu", torch.uint8).numpy()
