"""PSANet's mask: an attention map given relative to each pixel, laid out absolutely.

``B`` batch, ``H W`` features, ``a b`` mask with its middle at ``half``. With mode 0 (collect),
``output[(y, x), i, j]`` is ``input[(y - i + half, x - j + half), i, j]`` where that is inside the
mask, else 0; with mode 1 (distribute) it is ``output[(i, j), y, x]``.
"""

import torch
from torch import Tensor


def _shift(source: Tensor, target: Tensor, sign: int, offset: tuple[int, int]) -> None:
    """``target[:, y, x, i, j] = source[:, y + sign*i + offset, x + sign*j + offset, i, j]``, or 0.

    A row at a time: an index for all of it would take twice the memory of the map itself.
    """
    rows, columns, height, width = target.shape[1:]
    depth, breadth = source.shape[1:3]
    x = torch.arange(columns, device=source.device)[:, None]
    j = torch.arange(width, device=source.device)[None]
    column = x + sign * j + offset[1]
    outside = (column < 0) | (column >= breadth)
    column = column.clamp(0, breadth - 1)
    target.zero_()
    for i in range(height):
        shift = sign * i + offset[0]
        low, high = max(0, -shift), min(rows, depth - shift)
        if low < high:
            part = source[:, low + shift : high + shift, :, i]
            part = part.gather(2, column.expand(*part.shape[:2], -1, -1))
            target[:, low:high, :, i] = part.masked_fill(outside, 0)


def _absolute(layout: Tensor, mode: int, height: int, width: int) -> Tensor:
    """A view ``(B, y, x, i, j)`` of the absolute map ``(B, H * W, H, W)``."""
    view = layout.view(len(layout), height, width, height, width)
    return view.permute(0, 3, 4, 1, 2) if mode else view


def _maps(relative, absolute, psa_type, num_, h_feature, w_feature, h_mask, w_mask, **half):
    """Views of both maps with five axes, by mmcv's arguments, and the middle of the mask."""
    view = relative.view(num_, h_mask, w_mask, h_feature, w_feature)
    middle = half["half_h_mask"], half["half_w_mask"]
    return view, _absolute(absolute, psa_type, h_feature, w_feature), middle


def psamask_forward(input: Tensor, output: Tensor, **layout: int) -> None:
    """Write ``input`` ``(B, a * b, H, W)`` to ``output`` ``(B, H * W, H, W)``."""
    relative, absolute, half = _maps(input.contiguous(), output, **layout)
    _shift(relative, absolute, -1, half)


def psamask_backward(grad_output: Tensor, grad_input: Tensor, **layout: int) -> None:
    """Write the gradient of the input to ``grad_input`` ``(B, a * b, H, W)``."""
    relative, absolute, half = _maps(grad_input, grad_output.contiguous(), **layout)
    _shift(absolute, relative, 1, (-half[0], -half[1]))
