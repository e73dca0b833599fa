"""The loss of mask classification: a set of predicted masks against a set of true ones.

Shapes: ``B`` batch, ``Q`` queries, ``N`` classes, ``h w`` predicted and ``H W`` true masks, ``T``
true masks of an image, ``P`` points at which masks are compared.
"""

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F


def class_masks(labels: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """The classes of a label map ``(H, W)`` and a mask of each: ``(T,)`` and ``(T, H, W)``."""
    classes = labels.unique()
    classes = classes[classes != ignore_index].long()
    return classes, labels[None] == classes[:, None, None]


def _read(masks: Tensor, points: Tensor) -> Tensor:
    """Masks ``(T, h, w)`` at points ``(T, P, 2)``, ``(x, y)`` in [0, 1]: ``(T, P)``."""
    grid = 2 * points[:, :, None] - 1
    return F.grid_sample(masks[:, None].float(), grid, align_corners=False)[:, 0, :, 0]


class MaskSetLoss(nn.Module):
    """Match queries to true masks, then compare class, mask and overlap of each pair.

    As in Mask2Former (arXiv 2112.01527, section 3.3) and EoMT: bipartite matching, masks compared
    at random points of which most are where the prediction is least certain.

    Args:
        num_classes: ``N``; a query with no mask has the class ``N``.
        class_weight, mask_weight, dice_weight: Weights of the three, in matching and loss.
        no_object_weight: Weight of queries with no mask in the class's cross-entropy.
        num_points: ``P``.
        oversample_ratio: From how many times ``P`` points the uncertain ones are taken.
        importance_sample_ratio: Share of the points that are uncertain ones, in [0, 1].
    """

    def __init__(
        self,
        num_classes: int,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
        num_points: int = 12544,  # 112 x 112
        oversample_ratio: float = 3.0,
        importance_sample_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.class_weight, self.mask_weight = class_weight, mask_weight
        self.dice_weight = dice_weight
        self.num_points, self.oversample_ratio = num_points, oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        weights = torch.ones(num_classes + 1)
        weights[-1] = no_object_weight
        self.register_buffer("weights", weights, persistent=False)

    def forward(
        self, classes: Tensor, masks: Tensor, targets: Sequence[tuple[Tensor, Tensor]]
    ) -> dict[str, Tensor]:
        """The weighted losses of one set of predictions.

        Args:
            classes: ``(B, Q, N + 1)`` logits. ``masks``: ``(B, Q, h, w)`` logits.
            targets: For each image, classes ``(T,)`` and masks ``(T, H, W)``; ``T`` may be 0.

        Returns:
            ``loss_cls``, ``loss_mask`` and ``loss_dice``.
        """
        classes, masks = classes.float(), masks.float()
        pairs = [self.match(c, m, *t) for c, m, t in zip(classes, masks, targets, strict=True)]
        truth = classes.new_full(classes.shape[:2], self.num_classes, dtype=torch.long)
        for row, (query, true), (labels, _) in zip(truth, pairs, targets, strict=True):
            row[query] = labels[true]
        predicted = torch.cat([m[query] for m, (query, _) in zip(masks, pairs, strict=True)])
        wanted = torch.cat([t[true] for (_, t), (_, true) in zip(targets, pairs, strict=True)])
        # On average over all processes, as their gradients are averaged.
        count = classes.new_tensor([float(sum(len(labels) for labels, _ in targets))])
        all_reduce(count, op="mean")
        mask, dice = self._compare(predicted, wanted, count.clamp(min=1))
        loss = F.cross_entropy(classes.transpose(1, 2), truth, self.weights)
        return {
            "loss_cls": self.class_weight * loss,
            "loss_mask": self.mask_weight * mask,
            "loss_dice": self.dice_weight * dice,
        }

    @torch.no_grad()
    def match(
        self, classes: Tensor, masks: Tensor, labels: Tensor, truth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Queries and the true masks they are closest to, one to one.

        Args:
            classes: ``(Q, N + 1)``. ``masks``: ``(Q, h, w)``.
            labels: ``(T,)``. ``truth``: ``(T, H, W)``.
        """
        points = torch.rand(1, self.num_points, 2, device=masks.device)
        predicted = _read(masks, points.expand(len(masks), -1, -1))
        wanted = _read(truth, points.expand(len(truth), -1, -1))
        chance = predicted.sigmoid()
        overlap = 1 - (2 * chance @ wanted.T + 1) / (
            chance.sum(1)[:, None] + wanted.sum(1)[None] + 1
        )
        entropy = F.softplus(-predicted) @ wanted.T + F.softplus(predicted) @ (1 - wanted).T
        cost = (
            self.mask_weight * entropy / self.num_points
            - self.class_weight * classes.softmax(-1)[:, labels]
            + self.dice_weight * overlap
        )
        # Diverged predictions are matched last, and the loss shows them.
        worst = torch.finfo(cost.dtype).max
        cost = cost.nan_to_num(nan=worst, posinf=worst, neginf=worst)
        query, true = linear_sum_assignment(cost.cpu().numpy())
        return tuple(torch.as_tensor(i, device=masks.device) for i in (query, true))

    def _compare(self, masks: Tensor, truth: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and dice loss of matched masks, ``(T, h, w)`` and ``(T, H, W)``."""
        if not len(masks):
            return masks.sum(), masks.sum()
        points = self._points(masks.detach())
        predicted, wanted = _read(masks, points), _read(truth, points)
        entropy = F.binary_cross_entropy_with_logits(predicted, wanted, reduction="none").mean(1)
        chance = predicted.sigmoid()
        overlap = (2 * (chance * wanted).sum(1) + 1) / (chance.sum(1) + wanted.sum(1) + 1)
        return entropy.sum() / count[0], (1 - overlap).sum() / count[0]

    @torch.no_grad()
    def _points(self, masks: Tensor) -> Tensor:
        """``(T, P, 2)``: the most uncertain of many random points, and random ones."""
        many = int(self.num_points * self.oversample_ratio)
        uncertain = int(self.importance_sample_ratio * self.num_points)
        points = torch.rand(len(masks), many, 2, device=masks.device)
        chosen = (-_read(masks, points).abs()).topk(uncertain, dim=1).indices
        points = points.gather(1, chosen[:, :, None].expand(-1, -1, 2))
        rest = torch.rand(len(masks), self.num_points - uncertain, 2, device=masks.device)
        return torch.cat([points, rest], 1)
