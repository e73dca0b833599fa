"""Predictions and labels for the tests of the evaluation."""

import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
META = {"classes": CLASSES, "palette": [[i, 2 * i, 3 * i] for i in range(19)]}
GROUPS = ("cityscapes/clear_day", "acdc/fog", "acdc/night", "acdc/rain", "acdc/snow", "bdd/all")
ERROR = dict(zip(GROUPS, (0.1, 0.2, 0.6, 0.3, 0.4, 0.5), strict=True))


def predicted(group: str, index: int, size=(20, 24), classes=19, logits=True, labelled=True):
    """A predicted data sample, the same for the same arguments."""
    rng = np.random.default_rng([GROUPS.index(group), index])
    label = rng.integers(0, classes, size)
    other = rng.integers(0, classes, size)
    prediction = np.where(rng.random(size) < ERROR[group], other, label)
    label[rng.random(size) < 0.1] = 255
    dataset, domain = group.split("/")
    sample = SegDataSample(
        metainfo={
            "img_path": f"{dataset}/{domain}/{index:04}.png",
            "ori_shape": size,
            "dataset": dataset,
            "domain": domain,
        }
    )
    prediction = torch.from_numpy(prediction)[None]
    sample.pred_sem_seg = PixelData(data=prediction)
    if labelled:
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(label)[None])
    if logits:
        noise = torch.from_numpy(rng.standard_normal((classes, *size))).float()
        noise.scatter_(0, prediction, noise.amax(0, keepdim=True) + 0.1)
        sample.seg_logits = PixelData(data=noise)
    return sample


def mixed(images=3, seed=0, **kwargs):
    """Samples of all groups in random order."""
    samples = [predicted(group, i, **kwargs) for group in GROUPS for i in range(images)]
    order = np.random.default_rng(seed).permutation(len(samples))
    return [samples[i] for i in order]


def run(metric, samples, batch_size=4, size=None):
    """What a test loop does with a metric."""
    metric.dataset_meta = META
    for start in range(0, len(samples), batch_size):
        metric.process({}, [s.to_dict() for s in samples[start : start + batch_size]])
    return metric.evaluate(len(samples) if size is None else size)
