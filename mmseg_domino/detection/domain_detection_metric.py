"""The metric of detectors: COCO's AP by domain, its means, and relative to the source.

Shapes: ``N`` classes, ``P`` detections, ``H W`` the image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmdet.registry import METRICS

from ..evaluation import DomainMetric
from ..metrics import DETECTION_KINDS, Matches, build_detection_results, write_detection_results
from ..reporting import detection_table
from .matching import encode_masks, encode_truth, match_image


@METRICS.register_module()
class DomainDetectionMetric(DomainMetric):
    """AP, AP50 and AP75 of boxes and masks by data set and domain, in one pass over all of them.

    Each sample is filed under its own ``dataset`` and ``domain``, so batches may mix them. Matching
    is pycocotools', image by image, and so are the figures, to rounding; those of several domains,
    relative ones and intervals come from the same matches. An image that a distributed sampler
    repeats counts once. The truth is the annotations that ``PackDominoDetInputs(truth=True)``
    packed: crowds count neither way, and what the data set leaves out (boxes without area) is not
    looked for. An image without annotations is legal: whatever is detected there is wrong.

    The returned dictionary holds, in percent, what :func:`~mmseg_domino.metrics.detection_figures`
    names: ``acdc/fog/bbox_AP``, ``acdc/mean_of_domains_bbox_AP``, ``targets/...``; and over all
    images ``bbox_mAP``, ``bbox_mAP_50`` and ``bbox_mAP_75`` as ratios, as ``CocoMetric`` does.

    Args:
        metric: ``'bbox'``, ``'segm'`` or both.
        source: Group key of the source domain, such as ``'cityscapes/clear_day'``; ``None`` for no
            relative figures. If it is not among what is tested, there are none either.
        intervals: Compute 95 % bootstrap intervals over images.
        default_group: Group of samples without ``dataset`` and ``domain``; ``None`` makes them an
            error.
        results_file: If given, write ``results.json`` there and the matches beside it.
        run: What ``results.json`` should say of the run.
        **kwargs: As for ``BaseMetric``.

    Raises:
        ValueError: If arguments make no sense; if a sample has no annotations packed, no domain,
            boxes or scores that are NaN or infinite, or labels out of range (the message names the
            file); if nothing was evaluated.
    """

    def __init__(
        self,
        metric: str | Sequence[str] = "bbox",
        source: str | None = None,
        intervals: bool = True,
        default_group: str | None = None,
        results_file: str | None = None,
        run: Mapping | None = None,
        **kwargs,
    ) -> None:
        super().__init__(source, intervals, default_group, results_file, run, **kwargs)
        self.kinds = (metric,) if isinstance(metric, str) else tuple(metric)
        unknown = [kind for kind in self.kinds if kind not in DETECTION_KINDS]
        if unknown or not self.kinds:
            raise ValueError(f"metric must be of {DETECTION_KINDS}, got {metric!r}")

    def reset(self) -> None:
        self._found: dict[tuple[str, str], dict] = {}
        self._repeated = 0

    @property
    def counted(self) -> tuple[dict, int]:
        return self._found, self._repeated

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Match a batch of predictions.

        Args:
            data_batch: Not used.
            data_samples: For each image ``pred_instances`` (``bboxes`` ``(P, 4)``, ``scores`` and
                ``labels`` ``(P,)``, ``masks`` ``(P, H, W)``), ``instances`` and its meta
                information.
        """
        for sample in data_samples:
            key = self.key_of(sample)
            if key in self._found:
                self._repeated += 1
                continue
            try:
                self._found[key] = self._match(sample)
            except ValueError as error:
                raise ValueError(f"{key[1]} ({key[0]}): {error}") from error

    def _match(self, sample: Mapping) -> dict:
        found, size = sample["pred_instances"], tuple(sample["ori_shape"][:2])
        boxes, scores, labels = (_array(found[k]) for k in ("bboxes", "scores", "labels"))
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ValueError(
                "the model's boxes or scores are NaN or infinite, its prediction means nothing. "
                "Did the training diverge, or half precision overflow?"
            )
        classes = len(self.classes)
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(
                f"the model predicts class {labels.max()}, and the data set has {classes}; make "
                "num_classes of the heads and the data set agree"
            )
        matches = {}
        for kind in self.kinds:
            shapes, rank = boxes, scores
            if kind == "segm":
                shapes, rank = _predicted_masks(found), _array(found.get("mask_scores", scores))
            truth = self._truth(sample, kind, size)
            matches[kind] = match_image(kind, truth, labels, rank, shapes, classes)
        return matches

    def _truth(self, sample: Mapping, kind: str, size: tuple[int, int]) -> list[dict]:
        instances = sample.get("instances")
        if instances is None:
            raise ValueError(
                "its annotations were not packed, so it cannot be evaluated: end the test pipeline "
                "in PackDominoDetInputs(truth=True)"
            )
        truth = []
        for item in instances:
            label = int(item["bbox_label"])
            if not 0 <= label < len(self.classes):
                raise ValueError(f"an annotation is of class {label} of {len(self.classes)}")
            if kind == "segm" and "mask" not in item:
                raise ValueError("an annotation has no mask; test with metric='bbox'")
            shape = encode_truth(item["mask"], size) if kind == "segm" else item["bbox"]
            truth.append(dict(label=label, crowd=bool(item["ignore_flag"]), shape=shape))
        return truth

    def finish(self, parts: Sequence[tuple[dict, int]], size: int) -> dict[str, float]:
        found: dict[tuple[str, str], Any] = {}
        for part, _ in parts:
            found |= part
        self.tell_counts(len(found), sum(len(part) + n for part, n in parts) - len(found), size)
        images: dict[str, list[str]] = {}
        for group, image in sorted(found):
            images.setdefault(group, []).append(image)
        matches = {
            group: {
                kind: Matches.join([found[group, image][kind] for image in paths])
                for kind in self.kinds
            }
            for group, paths in images.items()
        }
        results = build_detection_results(
            images, matches, self.classes, self.palette, self.source, self.intervals, self.run
        )
        self.publish(results, detection_table(results).text(), write_detection_results)
        return {**results.pooled, **results.metrics()}


def _array(values: Any) -> np.ndarray:
    if not torch.is_tensor(values):
        return np.asarray(values)
    values = values.detach().cpu()
    return (values.float() if values.is_floating_point() else values).numpy()


def _predicted_masks(found: Mapping) -> list[dict]:
    if "masks" not in found:
        raise ValueError("the model predicts no masks; test with metric='bbox'")
    masks = found["masks"]
    if torch.is_tensor(masks):
        masks = masks.cpu().numpy()
    return encode_masks(masks) if isinstance(masks, np.ndarray) else list(masks)
