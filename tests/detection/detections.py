"""Random images of two domains with annotations, and what a detector might say of them."""

import numpy as np
import torch
from pycocotools import mask as coco_mask

CLASSES = ("car", "person", "bus")
SIZE = (40, 60)


def boxes(rng, count):
    corner = rng.uniform(0, 30, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(3, 25, (count, 2))], 1).astype(np.float32)


def filled(box):
    mask = np.zeros(SIZE, bool)
    x1, y1, x2, y2 = np.rint(box).astype(int)
    mask[y1:y2, x1:x2] = True
    return mask


def sample(rng, path, domain, empty=False):
    """As a test loop hands it to a metric: crowds, misses, false alarms, objects of no class."""
    count = 0 if empty else int(rng.integers(1, 6))
    truth = boxes(rng, count)
    labels = rng.integers(0, 2, count)  # no bus is ever annotated
    instances = [
        dict(bbox=box.tolist(), bbox_label=int(label), ignore_flag=int(rng.random() < 0.15),
             mask=coco_mask.encode(np.asfortranarray(filled(box), dtype=np.uint8)))
        for box, label in zip(truth, labels, strict=True)
    ]  # fmt: skip
    moved = truth + rng.normal(0, 1.5, truth.shape).astype(np.float32)
    found = np.concatenate([moved[rng.random(count) < 0.8], boxes(rng, int(rng.integers(0, 5)))])
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    found = np.clip(found, 0, 59)
    return dict(
        img_path=path, dataset="acdc", domain=domain, ori_shape=SIZE, instances=instances,
        pred_instances=dict(
            bboxes=torch.tensor(found),
            scores=torch.tensor(rng.permutation(1000)[: len(found)] / 1000, dtype=torch.float32),
            labels=torch.tensor(rng.integers(0, 3, len(found))),
            masks=torch.tensor(np.array([filled(b) for b in found]).reshape(-1, *SIZE)),
        ),
    )  # fmt: skip


def samples(number=12, domains=("fog", "night"), seed=0):
    rng = np.random.default_rng(seed)
    return [
        sample(rng, f"{domain}/{i:03}.png", domain, empty=i == 3)
        for domain in domains
        for i in range(number)
    ]
