"""A small deterministic test run: street-like label maps and a model that errs plausibly.

Everything a report reads follows from the same predictions, so the figures fit one another.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
PALETTE = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
    (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
    (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100),
    (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
N = len(CLASSES)
IGNORED = 255
DOMAINS = ("clear_day", "fog", "night", "rain", "snow")
#: How the light of each domain changes the picture: (gain, veil colour, veil weight).
LIGHT = {
    "clear_day": (1.0, (0, 0, 0), 0.0),
    "fog": (0.8, (190, 190, 195), 0.55),
    "night": (0.25, (10, 10, 30), 0.2),
    "rain": (0.65, (90, 95, 105), 0.3),
    "snow": (0.9, (225, 228, 235), 0.35),
}
ERROR = {"clear_day": 0.06, "fog": 0.14, "night": 0.36, "rain": 0.2, "snow": 0.24}
CONFUSED = {0: 1, 1: 0, 2: 3, 3: 4, 4: 3, 5: 2, 6: 5, 7: 5, 8: 9, 9: 8, 10: 2, 11: 12, 12: 11,
            13: 14, 14: 13, 15: 14, 16: 15, 17: 18, 18: 17}  # fmt: skip


@dataclass
class Frame:
    """One tested image: arrays ``(H, W)``, the picture ``(H, W, 3)`` uint8."""

    path: Path
    group: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray


def street(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    label = np.full((height, width), 10, np.uint8)
    horizon = int(height * rng.uniform(0.35, 0.5))
    x = 0
    while x < width:
        w = int(rng.integers(width // 10, width // 4))
        top = int(horizon * rng.uniform(0.1, 0.7))
        label[top:horizon, x : x + w] = rng.choice([2, 2, 2, 8, 8, 3])
        x += w
    rows = np.arange(height)[:, None]
    columns = np.arange(width)[None]
    depth = (rows - horizon) / (height - horizon)
    label[(rows >= horizon) & np.ones_like(columns, bool)] = 1
    centre = width * rng.uniform(0.4, 0.6)
    label[(depth > 0) & (np.abs(columns - centre) < width * (0.05 + 0.5 * depth))] = 0
    label[(depth > 0.1) & (columns < width * 0.08)] = 9
    for _ in range(int(rng.integers(4, 9))):
        y = int(rng.integers(horizon, height))
        size = max(3, int((y - horizon) * 0.6) + 3)
        left = int(rng.integers(0, width))
        kind = int(rng.choice([13, 13, 13, 11, 12, 14, 15, 16, 17, 18]))
        wide = size * 2 if kind >= 13 else max(1, size // 3)
        label[max(0, y - size) : y, left : left + wide] = kind
    for kind in (5, 6, 7):
        left = int(rng.integers(0, width - 3))
        label[horizon // 2 : horizon + height // 5, left : left + 1 + kind // 6] = kind
    label[-height // 16 :] = IGNORED
    return label


def smooth(noise: np.ndarray, size: int) -> np.ndarray:
    small = Image.fromarray(noise[::size, ::size].astype(np.float32))
    return np.asarray(small.resize(noise.shape[::-1], Image.Resampling.BICUBIC))


def predict(rng, label: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray]:
    margin = smooth(rng.standard_normal(label.shape), 6) + 0.4 * rng.standard_normal(label.shape)
    margin = (margin - np.quantile(margin, error)) / margin.std()
    truth = np.where(label == IGNORED, 0, label)
    other = np.vectorize(CONFUSED.get)(truth)
    prediction = np.where(margin < 0, other, truth).astype(np.uint8)
    confidence = 1 / (1 + np.exp(-2.2 * np.abs(margin) - 0.1))
    return prediction, confidence.astype(np.float32)


def frames(root: Path, images=6, size=(64, 128), seed=0, skill=1.0) -> list[Frame]:
    """Frames of Cityscapes in clear day and of four ACDC conditions; writes the pictures."""
    result = []
    for domain in DOMAINS:
        dataset = "cityscapes" if domain == "clear_day" else "acdc"
        gain, veil, weight = LIGHT[domain]
        for i in range(images):
            rng = np.random.default_rng((7, DOMAINS.index(domain), i))
            label = street(rng, *size)
            colours = np.array([*PALETTE, *[(60, 60, 60)] * (256 - N)], np.float32)[label]
            colours = colours * rng.uniform(0.85, 1.1, (*size, 1)) * gain
            image = (colours * (1 - weight) + np.array(veil) * weight).clip(0, 255).astype(np.uint8)
            rng = np.random.default_rng((seed, DOMAINS.index(domain), i))
            error = min(0.9, ERROR[domain] * rng.uniform(0.4, 1.8) / skill)
            prediction, confidence = predict(rng, label, error)
            path = root / dataset / domain / f"frame_{i:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            group = f"{dataset}/{domain}"
            result.append(Frame(path, group, image, label, prediction, confidence))
    return result


def confusion_of(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    valid = label != IGNORED
    index = label[valid].astype(np.int64) * N + prediction[valid]
    return np.bincount(index, minlength=N * N).reshape(N, N)


def figures(confusion: np.ndarray) -> dict:
    true, union = confusion.diagonal(), confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(union > 0, 100 * true / union, np.nan)
        acc = np.where(confusion.sum(1) > 0, 100 * true / confusion.sum(1), np.nan)
    return {
        "iou": [None if np.isnan(v) else float(v) for v in iou],
        "acc": [None if np.isnan(v) else float(v) for v in acc],
        "mIoU": float(np.nanmean(iou)),
        "mAcc": float(np.nanmean(acc)),
        "aAcc": float(100 * true.sum() / confusion.sum()),
    }


def calibration_of(members: list[Frame], bins=5) -> dict:
    """Calibration figures of the frames' confidences, by sorting all pixels."""
    valid = np.concatenate([(f.label != IGNORED).ravel() for f in members])
    confidence = np.concatenate([f.confidence.ravel() for f in members])[valid]
    right = np.concatenate([(f.label == f.prediction).ravel() for f in members])[valid]
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    means = [
        [float(values[which == b].mean()) if (which == b).any() else None for b in range(bins)]
        for values in (confidence, right)
    ]
    order = np.argsort(-confidence, kind="stable")
    risk = (~right[order]).cumsum() / np.arange(1, len(order) + 1)
    points = np.linspace(0, len(order) - 1, 21).astype(int)[1:]
    return {
        "ece_ratio": float(np.abs(confidence - right).mean()),
        "aurc_ratio": float(risk.mean()),
        "bin_count": np.bincount(which, minlength=bins).tolist(),
        "bin_confidence_ratio": means[0],
        "bin_accuracy_ratio": means[1],
        "coverage_ratio": ((points + 1) / len(order)).tolist(),
        "risk_ratio": risk[points].tolist(),
    }


def results_of(
    tested: list[Frame], name="Domino, subtract", intervals=True, calibration=False
) -> dict:
    """The contents of the results.json of these frames."""
    groups = {}
    for key in dict.fromkeys(f.group for f in tested):
        members = [f for f in tested if f.group == key]
        confusion = sum(confusion_of(f.label, f.prediction) for f in members)
        dataset, domain = key.split("/")
        scores = np.full(len(DOMAINS), 0.06)
        scores[DOMAINS.index(domain)] = 0.76
        groups[key] = {
            "dataset": dataset,
            "domain": domain,
            "num_images": len(members),
            "confusion": confusion.tolist(),
            **figures(confusion),
            "domain_scores": {"names": list(DOMAINS), "mean": scores.tolist()},
        }
        if calibration:
            groups[key]["calibration"] = calibration_of(members)
        if intervals:
            half = 60 / len(members) ** 0.5 / 8
            miou = groups[key]["mIoU"]
            groups[key]["ci"] = {"mIoU": [miou - half, miou + half]}
    source = "cityscapes/clear_day" if "cityscapes/clear_day" in groups else None
    summary = {}
    targets = [g for g in groups.values() if g["dataset"] == "acdc"]
    if targets:
        pooled = figures(np.sum([g["confusion"] for g in targets], axis=0))["mIoU"]
        mean = float(np.mean([g["mIoU"] for g in targets]))
        reference = groups[source]["mIoU"] if source else None
        summary["acdc"] = {
            "mean_of_domains": mean,
            "pooled": pooled,
            "relative_mean_of_domains": 100 * mean / reference if reference else None,
            "relative_pooled": 100 * pooled / reference if reference else None,
        }
        if intervals and reference:
            summary["acdc"]["ci"] = {
                "mean_of_domains": [mean - 1.5, mean + 1.5],
                "relative_mean_of_domains": [
                    100 * mean / reference - 2,
                    100 * mean / reference + 2,
                ],
            }
    return {
        "format": "mmseg_domino.results/1",
        "run": {
            "name": name,
            "config": "configs/domino_vpd_mini.py",
            "checkpoint": "work_dirs/domino_vpd_mini/iter_200.pth",
            "command": "domino test configs/domino_vpd_mini.py iter_200.pth --report out",
            "seed": 0,
            "created": "2025-01-31T12:00:00+00:00",
            "versions": {"mmseg_domino": "0.1.0", "torch": "2.12.0", "mmengine": "0.10.12"},
            "commit": "0123456789abcdef0123456789abcdef01234567",
        },
        "classes": list(CLASSES),
        "palette": [list(c) for c in PALETTE],
        "source": source,
        "groups": groups,
        "summary": summary,
    }


def write_run(work: Path, tested: list[Frame], name="Domino, subtract", **kwargs) -> Path:
    """A work folder as a test leaves it: results.json and per_image.safetensors."""
    work.mkdir(parents=True, exist_ok=True)
    confusions = np.stack([confusion_of(f.label, f.prediction) for f in tested])
    scores = np.full((len(tested), len(DOMAINS)), 0.06, np.float32)
    for row, frame in zip(scores, tested, strict=True):
        row[DOMAINS.index(frame.group.split("/")[1])] = 0.76
    header = {
        "images": [str(f.path) for f in tested],
        "groups": [f.group for f in tested],
        "classes": list(CLASSES),
    }
    save_file(
        {
            "intersection": np.ascontiguousarray(confusions.diagonal(0, 1, 2)).astype(np.int32),
            "prediction": confusions.sum(1).astype(np.int32),
            "label": confusions.sum(2).astype(np.int32),
            "domain_scores": scores,
        },
        work / "per_image.safetensors",
        metadata={"mmseg_domino": json.dumps(header)},
    )
    counts = (work / "per_image.safetensors").read_bytes()
    data = results_of(tested, name, **kwargs)
    seal(work, {**data, "per_image_sha256": hashlib.sha256(counts).hexdigest()})
    return work


def seal(work: Path, data: dict) -> None:
    """Write results.json with the checksum of its contents."""
    content = {key: value for key, value in data.items() if key not in ("run", "sha256")}
    text = json.dumps(content, sort_keys=True).encode()
    data = {**data, "sha256": hashlib.sha256(text).hexdigest()}
    (work / "results.json").write_text(json.dumps(data))
