"""Multi-scale deformable attention (Deformable DETR, arXiv 2010.04159, equation 3).

``B`` batch, ``S`` positions of all levels, ``M`` heads of ``D`` channels, ``Q`` queries, ``L``
levels, ``P`` points.

A head of a query is a weighted sum of ``4 * L * P`` rows of the values, the four neighbours of
each point: what ``embedding_bag`` computes without a copy of the rows. The sizes of the levels stay
on the device; to read them would make the host wait for it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .common import check_operands, full_precision


def _corners(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Rows of ``value`` as ``(B * S * M, D)``, and weights; each ``(B * Q * M, 4 * L * P)``."""
    batch, positions, heads, _ = value.shape
    entries = 4 * weights.numel()
    kind = torch.int32 if max(value.numel(), entries) < 2**31 else torch.int64
    size = shapes.flip(1)[:, None].to(kind)  # (L, 1, 2): width and height
    point = locations * size - 0.5
    low = point.floor()
    ends = torch.stack([low.to(kind), low.to(kind) + 1], dim=-1)
    inside = (ends >= 0) & (ends < size[..., None])
    share = torch.stack([1 - (point - low), point - low], dim=-1) * inside
    ends = ends.clamp(min=0).minimum(size[..., None] - 1)
    (x, y), (share_x, share_y) = ends.unbind(-2), share.unbind(-2)
    row = y[..., :, None] * size[..., 0, None, None] + x[..., None, :]
    row = row + starts.to(kind)[:, None, None, None]
    image = torch.arange(batch, device=row.device, dtype=kind) * positions
    head = torch.arange(heads, device=row.device, dtype=kind)
    row = (row + image.view(-1, 1, 1, 1, 1, 1, 1)) * heads + head.view(-1, 1, 1, 1, 1)
    weight = (weights[..., None] * share_y)[..., :, None] * share_x[..., None, :]
    columns = 4 * weights.shape[-1] * weights.shape[-2]
    return row.reshape(-1, columns), weight.reshape(-1, columns)


def deformable_attention(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    """Read each level at the locations, bilinearly, and add up by weight.

    Args:
        value: ``(B, S, M, D)``.
        shapes: ``(L, 2)`` integers, height and width of each level.
        starts: ``(L,)`` integers, the first position of each level.
        locations: ``(B, Q, M, L, P, 2)``, ``(x, y)`` with 0 and 1 the outer edges of a level.
        weights: ``(B, Q, M, L, P)``.

    Returns:
        ``(B, Q, M * D)``.
    """
    rows, shares = _corners(value, shapes, starts, locations, weights)
    table = value.reshape(-1, value.shape[-1])
    output = F.embedding_bag(rows, table, mode="sum", per_sample_weights=shares)
    return output.view(len(value), -1, value.shape[2] * value.shape[3])


def _check_levels(value: Tensor, shapes: Tensor, locations: Tensor) -> None:
    fits = len(shapes) == locations.shape[3]
    if fits and not value.is_cuda:  # on a GPU the sizes are not read; mmcv's layer compares them
        fits = int(shapes.prod(1).sum()) == value.shape[1]
    if not fits:
        raise ValueError(
            f"ms_deform_attn: {len(shapes)} levels"
            + ("" if value.is_cuda else f" of {shapes.tolist()}")
            + f" do not fit {value.shape[1]} positions and sampling locations of "
            f"{locations.shape[3]} levels"
        )


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """mmcv's signature of :func:`deformable_attention`."""
    operands = {"value": value, "locations": sampling_locations, "weights": attention_weights}
    check_operands("ms_deform_attn", **operands)
    _check_levels(value, value_spatial_shapes, sampling_locations)
    levels = value_spatial_shapes, value_level_start_index
    values, *points = full_precision(value, sampling_locations, attention_weights)
    return deformable_attention(values, *levels, *points).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients of values, locations and weights."""
    operands = full_precision(value, sampling_locations, attention_weights, grad_output)
    values, points, weights, grad = (t.detach() for t in operands)
    with torch.enable_grad():
        leaves = points.requires_grad_(), weights.requires_grad_()
        levels = value_spatial_shapes, value_level_start_index
        rows, shares = _corners(values, *levels, *leaves)
        table, grad = (t.reshape(-1, values.shape[-1]) for t in (values, grad))
        output = F.embedding_bag(rows, table, mode="sum", per_sample_weights=shares)
    found = torch.autograd.grad(output, leaves, grad)
    grad_sampling_loc.copy_(found[0])
    grad_attn_weight.copy_(found[1])
    # The same sum, turned round: which queries read a row, in place of which rows a query reads.
    read, order = rows.flatten().sort()
    first = torch.searchsorted(read, torch.arange(len(table), device=read.device, dtype=read.dtype))
    queries, shares = order // rows.shape[1], shares.detach().flatten()[order]
    turned = F.embedding_bag(queries, grad, first, mode="sum", per_sample_weights=shares)
    grad_value.copy_(turned.view_as(grad_value))
