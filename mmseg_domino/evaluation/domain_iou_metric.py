"""The metric: mIoU by domain, both averages, and relative to the source.

Shapes: ``N`` classes, ``H W`` pixels, ``K`` domains of the prompt bank.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmseg.registry import METRICS
from torch import Tensor

from ..metrics import Counts, ImageCount, build_results, merge_counts, write_results
from ..reporting import text_tables
from ..utils.journal import Journal
from ..utils.options import complete_options
from .domain_metric import DomainMetric
from .journal import open_journal, remove_journal
from .pixels import confidence_histogram, confusion_matrix, predicted_probability
from .predictions import PredictionWriter, SubmissionWriter

_SUBMISSION = {"format": None, "images": None, "size": None}
_JOURNAL = {"folder": None, "resume": False, "fingerprint": None}


@METRICS.register_module()
class DomainIoUMetric(DomainMetric):
    """IoU by data set and domain in one pass over all of them.

    Each sample is counted under its own ``dataset`` and ``domain``, so batches may mix them. The
    figures are exact and the same for any order of samples and any number of processes; images
    that a distributed sampler repeats are counted once.

    The returned dictionary holds, in percent: ``mIoU``, ``mAcc``, ``aAcc`` over all images (what
    ``IoUMetric`` returns; not of source and targets together); the same by group
    (``acdc/fog/mIoU``); for each target data set ``acdc/mean_of_domains``, ``acdc/pooled`` and both
    relative to the source; the mean of these over the target data sets (``targets/pooled``).

    Args:
        source: Group key of the source domain, such as ``'cityscapes/clear_day'``; ``None`` for
            no relative figures. If it is not among what is tested, there are none either.
        ignore_index: Label of pixels that do not count.
        class_subsets: Class names of each further mean, such as ``dict(mIoU16=[...])``.
        intervals: Compute 95 % intervals over images.
        calibration: Also measure expected calibration error and risk-coverage by domain; takes
            the probabilities of all classes, so it is slower.
        default_group: Group of samples without ``dataset`` and ``domain``; ``None`` makes them an
            error.
        output_dir: If given, write each prediction as PNG: as ``DATASET/DOMAIN/PATH.png``, or as
            ``submission`` asks.
        format_only: Only write predictions; the images need no labels.
        submission: ``'acdc'``, ``'dark_zurich'`` or ``'cityscapes'``: write what its server takes,
            with a checked zip file, into ``output_dir``. For trials with other data
            ``dict(format='acdc', images=NUMBER, size=(HEIGHT, WIDTH))``.
        results_file: If given, write ``results.json`` there and ``per_image.safetensors`` beside.
        run: What ``results.json`` should say of the run.
        journal: If given, a folder that keeps what is done, image by image, until the test is
            complete; or ``dict(folder=..., resume=..., fingerprint=...)``. ``resume`` counts the
            images of the journal and skips them; without it a journal is cleared. ``fingerprint``
            is what it must agree with, such as a hash of the checkpoint and the config.
        keep_results: Accepted because MMSegmentation's ``domino test --out`` sets it; predictions
            are always kept.
        **kwargs: As for ``BaseMetric``.

    Raises:
        ValueError: If arguments make no sense together; if a sample has no label, no domain, NaN
            or infinite logits, or a label that is of another size or has values out of range (the
            message names the file).
    """

    def __init__(
        self,
        source: str | None = None,
        ignore_index: int = 255,
        class_subsets: Mapping[str, Sequence[str]] | None = None,
        intervals: bool = True,
        calibration: bool = False,
        default_group: str | None = None,
        output_dir: str | None = None,
        format_only: bool = False,
        submission: str | Mapping | None = None,
        results_file: str | None = None,
        run: Mapping | None = None,
        journal: str | Mapping | None = None,
        keep_results: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(source, intervals, default_group, results_file, run, **kwargs)
        if (format_only or submission) and output_dir is None:
            raise ValueError("format_only and submission need an output_dir to write to")
        if isinstance(journal, str):
            journal = dict(folder=journal)
        journal = complete_options(journal, _JOURNAL, "journal")
        if journal["resume"] and journal["folder"] is None:
            raise ValueError("resume=True needs the journal that the interrupted test kept")
        if submission:
            submission = dict(format=submission) if isinstance(submission, str) else submission
            submission = complete_options(submission, _SUBMISSION, "submission")
        self.ignore_index, self.calibration = ignore_index, calibration
        self.class_subsets = dict(class_subsets or {})
        self.output_dir, self.format_only = output_dir, format_only
        self.submission = SubmissionWriter(folder=output_dir, **submission) if submission else None
        self.writer = PredictionWriter(output_dir) if output_dir and not submission else None
        self.journal, self.resume = journal["folder"], journal["resume"]
        self.fingerprint = journal["fingerprint"]

    def reset(self) -> None:
        self.counted = Counts()
        self._finished: set[tuple[str, str]] = set()
        self._log: Journal | None = None
        self._begun = False

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count a batch of ``pred_sem_seg`` and ``gt_sem_seg`` ``(1, H, W)``, ``seg_logits``
        ``(N, H, W)``."""
        self._begin()
        for sample in data_samples:
            self._process(sample)

    def _process(self, sample: Mapping) -> None:
        group, image = self.key_of(sample)
        if (group, image) in self._finished:
            return
        self._check_logits(sample, image)
        prediction = sample["pred_sem_seg"]["data"].squeeze(0)
        if prediction.is_floating_point():  # of a model with one logit
            prediction = prediction.long()
        try:
            count = ImageCount(
                group,
                image,
                tuple(prediction.shape),
                confusion=None if self.format_only else self._confusion(sample, prediction),
                histogram=self._histogram(sample, prediction),
                **_domain_scores(sample),
            )
            if self.counted.add(count):
                self._write_prediction(sample, group, image, prediction)
        except ValueError as error:
            raise ValueError(f"{image} ({group}): {error}") from error
        if self._log is not None:
            self._log.append(count.to_entry())

    def _check_logits(self, sample: Mapping, image: str) -> None:
        if "seg_logits" not in sample:
            return
        logits = sample["seg_logits"]["data"]
        # A sum is one pass without a temporary, and not finite if any summand is not.
        if not bool(torch.isfinite(logits.sum(dtype=torch.float32))):
            raise ValueError(
                f"{image}: the model's logits are NaN or infinite, its prediction means nothing. "
                "Did the training diverge, or half precision overflow? Test without --amp, or "
                "with an earlier checkpoint."
            )
        if logits.shape[0] not in (1, len(self.classes)):
            raise ValueError(
                f"{image}: the model has {logits.shape[0]} classes, the data set "
                f"{len(self.classes)}; make num_classes of the heads and the data set agree"
            )

    def _confusion(self, sample: Mapping, prediction: Tensor) -> np.ndarray:
        if "gt_sem_seg" not in sample:
            raise ValueError(
                "the image has no label, so it cannot be evaluated; use format_only=True "
                "(--format-only) to write predictions of it"
            )
        label = sample["gt_sem_seg"]["data"].squeeze(0)
        confusion = confusion_matrix(prediction, label, len(self.classes), self.ignore_index)
        return confusion.cpu().numpy()

    def _histogram(self, sample: Mapping, prediction: Tensor) -> np.ndarray | None:
        if not self.calibration or self.format_only:
            return None
        logits = sample["seg_logits"]["data"]
        if logits.shape[0] == 1:
            raise ValueError("calibration needs the logits of at least two classes")
        probability = predicted_probability(logits, prediction)
        label = sample["gt_sem_seg"]["data"].squeeze(0)
        return confidence_histogram(probability, prediction, label, self.ignore_index).numpy()

    def _write_prediction(
        self, sample: Mapping, group: str, image: str, prediction: Tensor
    ) -> None:
        if self.writer is None and self.submission is None:
            return
        size = tuple(sample.get("ori_shape", prediction.shape)[:2])
        if tuple(prediction.shape) != size:
            raise ValueError(
                f"the prediction has shape {tuple(prediction.shape)}, the image {size}"
            )
        array = prediction.cpu().numpy()
        if self.submission is not None:
            self.submission.write(image, array)
        else:
            self.writer.write(group, image, array)

    def _begin(self) -> None:
        """Open the journal. Runs once a test, in all processes, before anything is counted."""
        if self._begun:
            return
        self._begun = True
        if self.journal is None:
            return
        header = {
            "classes": list(self.classes),
            "ignore_index": self.ignore_index,
            "calibration": self.calibration,
            "format_only": self.format_only,
            "fingerprint": self.fingerprint,
        }
        self._log, done = open_journal(self.journal, header, self.resume)
        self._finished = set(done.pixels)
        if is_main_process() and self.resume:
            self.counted = done
            print_log(f"resumed: {len(done)} images were done before", logger="current")

    def evaluate(self, size: int) -> dict[str, float]:
        """See :class:`DomainMetric`; with ``format_only`` there are no figures."""
        self._begin()
        log = self._log
        try:
            metrics = super().evaluate(size)
        finally:
            if log is not None:
                log.close()
        if self.journal is not None and is_main_process():
            remove_journal(self.journal)
        return metrics

    def finish(self, parts: list[Counts], size: int) -> dict[str, float]:
        counts = merge_counts(parts)
        self.tell_counts(len(counts), counts.repeated, size)
        if self.submission is not None:
            archive = self.submission.finish([image for _, image in counts.pixels])
            print_log(f"submission for the {self.submission.name} server: {archive}", "current")
        if self.format_only:
            print_log(f"predictions are in {self.output_dir}", logger="current")
            return {}
        results = build_results(
            counts, self.classes, self.palette, self.source, self.class_subsets, self.intervals,
            self.run,
        )  # fmt: skip
        self.publish(results, text_tables(results), write_results)
        return results.metrics()


def _domain_scores(sample: Mapping) -> dict:
    scores = sample.get("domain_scores")
    if scores is None:
        return {}
    names = tuple(sample.get("domain_names") or map(str, range(len(scores))))
    return {"scores": scores.float().cpu().numpy(), "score_names": names}
