"""A linear probe: what a frozen network's features tell about the classes.

Shapes: ``B`` images, ``C`` channels of all levels together, ``h w`` the finest level, ``H W``
image, ``N`` classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from street_world.street import CLASSES, IGNORE

Features = Callable[[np.ndarray], Sequence[Tensor]]


@dataclass(frozen=True)
class ProbeRecipe:
    """Training of the probe; the same for every network that is compared."""

    iterations: int = 600
    batch_size: int = 8
    learning_rate: float = 5e-3
    seed: int = 0


class LinearProbe(nn.Module):
    """Standardised channels, then one 1 x 1 convolution.

    Args:
        mean, std: (C,) of the training features.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.view(-1, 1, 1))
        self.register_buffer("std", std.clamp(min=1e-6).view(-1, 1, 1))
        self.classify = nn.Conv2d(len(mean), len(CLASSES), 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to logits (B, N, h, w)."""
        return self.classify((features - self.mean) / self.std)


def stack_levels(levels: Sequence[Tensor]) -> Tensor:
    """Feature levels, finest first, at the finest level's size: (B, C, h, w)."""
    size = levels[0].shape[2:]
    return torch.cat(
        [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in levels], 1
    )


def train_probe(features: Tensor, labels: Tensor, recipe: ProbeRecipe) -> LinearProbe:
    """Train on features (M, C, h, w) of M images and their labels (M, H, W) uint8."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        probe = LinearProbe(features.mean((0, 2, 3)), features.std((0, 2, 3)))
    rng = np.random.default_rng((recipe.seed, 50))
    optimizer = torch.optim.AdamW(probe.parameters(), recipe.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.iterations)
    for _ in range(recipe.iterations):
        chosen = torch.from_numpy(rng.choice(len(features), recipe.batch_size, replace=False))
        target = labels[chosen].long()
        logits = F.interpolate(
            probe(features[chosen]), target.shape[1:], mode="bilinear", align_corners=False
        )
        loss = F.cross_entropy(logits, target, ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return probe.eval()


@torch.no_grad()
def confusion(probe: LinearProbe, features: Tensor, labels: Tensor) -> np.ndarray:
    """(N, N) pixels by true and predicted class; ignored pixels left out."""
    count = len(CLASSES)
    total = np.zeros((count, count), np.int64)
    for part, target in zip(features.split(16), labels.split(16), strict=True):
        logits = F.interpolate(probe(part), target.shape[1:], mode="bilinear", align_corners=False)
        known = target != IGNORE
        pairs = target[known].long() * count + logits.argmax(1)[known]
        total += torch.bincount(pairs, minlength=count**2).view(count, count).numpy()
    return total


def mean_iou(matrix: np.ndarray) -> float:
    """Mean IoU in percent over the classes that occur in the truth."""
    hit = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hit
    present = matrix.sum(1) > 0
    return float(100 * (hit[present] / union[present]).mean())
