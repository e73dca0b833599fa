"""Which generated images are good enough to train on.

Shapes: ``H W`` image, ``N`` classes, ``K`` domains, ``M`` images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import imagehash
import numpy as np
from PIL import Image

from ..metrics import iou, mean_over_classes

if TYPE_CHECKING:  # open_clip takes seconds to import, and a gate may do without
    from ..domain import DomainEncoder


def blank_problem(image: np.ndarray, min_range: int = 12) -> str | None:
    """Why an image shows nothing, or ``None`` if it shows something.

    A safety checker hands back black; a broken decoder one grey. Night images are dark but have
    lights: their values span more than ``min_range`` levels between the 0.5th and 99.5th
    percentile.
    """
    low, high = np.percentile(image, (0.5, 99.5))
    if high - low >= min_range:
        return None
    return "the image is black" if high < min_range else "the image is of one colour"


def image_miou(
    prediction: np.ndarray, label: np.ndarray, num_classes: int, ignore_index: int = 255
) -> float:
    """mIoU of one image in percent, over the classes in its label or prediction.

    Args:
        prediction: ``(H, W)`` class numbers.
        label: ``(H, W)`` class numbers; pixels of ``ignore_index`` are left out.

    Returns:
        0 to 100; NaN if nothing is labelled.
    """
    if prediction.shape != label.shape:
        raise ValueError(f"prediction {prediction.shape} and label {label.shape} differ in size")
    valid = label != ignore_index
    pairs = label[valid].astype(np.int64) * num_classes + prediction[valid]
    confusion = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    return float(mean_over_classes(iou(confusion)))


def perceptual_hash(image: np.ndarray) -> str:
    """64-bit DCT hash as 16 hexadecimal digits; near-duplicates differ in few bits."""
    return str(imagehash.phash(Image.fromarray(image)))


def duplicates(hashes: Sequence[str], max_distance: int) -> list[int | None]:
    """For each image the earlier, kept one that it nearly repeats; ``None`` for those to be kept.

    Nearly is up to ``max_distance`` differing bits, of 64, between :func:`perceptual_hash`.
    """
    bits = np.array([[int(h, 16)] for h in hashes], np.uint64).view(np.uint8)
    bits = np.unpackbits(bits.reshape(len(hashes), 8), axis=1)
    kept: list[int] = []
    result: list[int | None] = []
    for position in range(len(hashes)):
        distances = (bits[kept] != bits[position]).sum(1)
        near = np.flatnonzero(distances <= max_distance)
        result.append(kept[near[0]] if len(near) else None)
        if not len(near):
            kept.append(position)
    return result


@dataclass(frozen=True)
class GateThresholds:
    """Below these an image is set aside; ``None`` switches a part off.

    Attributes:
        min_agreement: mIoU (percent) of the segmentation model with the label. Where that model
            is weak in the domain, so is this test: half of its own mIoU there is a start.
        min_domain_score: CLIP's score (0 to 1) of the asked domain among those of the bank.
        min_similarity: Cosine of CLIP's embeddings of image and prompt (-1 to 1); 0.2 is usual
            for images that fit.
        max_duplicate_distance: Differing bits, of 64, up to which the later of two images of a
            domain is removed; 4 to 8 is usual.
    """

    min_agreement: float | None = None
    min_domain_score: float | None = None
    min_similarity: float | None = None
    max_duplicate_distance: int | None = None

    def __post_init__(self) -> None:
        limits = {
            "min_agreement": (0, 100),
            "min_domain_score": (0, 1),
            "min_similarity": (-1, 1),
            "max_duplicate_distance": (0, 63),
        }
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), limits[field.name]
            if value is not None and not low <= value <= high:
                raise ValueError(f"{field.name} must be {low} to {high} or None, got {value}")


class QualityGate:
    """Measures images and judges them.

    Args:
        thresholds: What to ask for.
        segment: Image ``(H, W, 3)`` uint8 RGB -> classes ``(H, W)``; for agreement.
        encoder: CLIP, with the prompt bank of the generation; for score and similarity.
        segmentor_name: Says in the provenance what ``segment`` is.

    Raises:
        ValueError: If a threshold is set whose measure is not available.
    """

    def __init__(
        self,
        thresholds: GateThresholds,
        segment: Callable[[np.ndarray], np.ndarray] | None = None,
        encoder: "DomainEncoder | None" = None,
        segmentor_name: str | None = None,
    ) -> None:
        if thresholds.min_agreement is not None and segment is None:
            raise ValueError(
                "min_agreement needs a segmentation model: "
                "gate=dict(segmentor=dict(config=..., checkpoint=...))"
            )
        for name in ("min_domain_score", "min_similarity"):
            if getattr(thresholds, name) is not None and encoder is None:
                raise ValueError(f"{name} needs CLIP: gate=dict(encoder=dict(model=...))")
        self.thresholds, self.segment, self.encoder = thresholds, segment, encoder
        self.segmentor_name = segmentor_name

    def describe(self) -> dict:
        """Thresholds and models, as JSON values."""
        described: dict = {"thresholds": asdict(self.thresholds), "segmentor": self.segmentor_name}
        if self.encoder is not None:
            described["encoder"] = self.encoder.provenance()
        return described

    def measure(
        self, image: np.ndarray, label: np.ndarray, num_classes: int, domain: str, prompt: str
    ) -> dict[str, float | str]:
        """All that can be measured of an image: ``agreement``, ``domain_score``, ``similarity``,
        ``phash``.
        """
        scores: dict[str, float | str] = {"phash": perceptual_hash(image)}
        if self.segment is not None:
            scores["agreement"] = image_miou(self.segment(image), label, num_classes)
        if self.encoder is not None:
            probabilities, embedding = self.encoder(self.encoder.prepare(image)[None])
            place = self.encoder.text.keys.index(domain)
            scores["domain_score"] = float(probabilities[0, place])
            joint, _ = self.encoder.encode_text([prompt], truncate=True)
            scores["similarity"] = float(embedding[0].cpu() @ joint[0].cpu())
        return scores

    def judge(self, scores: Mapping[str, float | str]) -> str | None:
        """Why an image is to be set aside, or ``None``."""
        asked = {
            "agreement": (self.thresholds.min_agreement, "agreement with the label", " %"),
            "domain_score": (self.thresholds.min_domain_score, "CLIP's score of the domain", ""),
            "similarity": (self.thresholds.min_similarity, "CLIP's image-text similarity", ""),
        }
        for name, (least, what, unit) in asked.items():
            # Not "<": NaN must not pass.
            if least is not None and not scores[name] >= least:
                return f"{what} is {scores[name]:.3g}{unit}, below {least:g}{unit}"
        return None
