"""The sigmoid focal loss (RetinaNet, arXiv 1708.02002), which mmdet and mmseg call on GPUs."""

import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from .common import full_precision, gradients


def _loss(input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    classes = torch.arange(input.shape[1], device=input.device)
    hot = (target[:, None] == classes).to(input.dtype)
    loss = sigmoid_focal_loss(input, hot, alpha=alpha, gamma=gamma, reduction="none")
    return loss * weight[target, None] if weight.numel() else loss


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of logits ``(N, C)`` against class indices ``(N,)`` to ``output`` ``(N, C)``.

    ``C`` itself as an index is the background. ``weight`` is ``(C,)``, or empty for none.
    """
    logits, weight = full_precision(input, weight)
    output.copy_(_loss(logits, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the gradient of the summed loss to ``grad_input``."""
    (weight,) = full_precision(weight)

    def loss(logits: Tensor) -> Tensor:
        return _loss(logits, target, weight, gamma, alpha)

    ones = torch.ones(input.shape, device=input.device)
    grad_input.copy_(gradients(loss, [input], ones)[0])
