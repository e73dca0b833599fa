"""Multi-scale deformable attention (Deformable DETR, arXiv 2010.04159, equation 3).

``B`` batch, ``S`` positions of all levels, ``M`` heads of ``D`` channels, ``Q`` queries, ``L``
levels, ``P`` points.
"""

import torch.nn.functional as F
from torch import Tensor

from .common import check_operands, full_precision, gradients


def deformable_attention(
    value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Read each level at the locations, bilinearly, and add up by weight.

    Args:
        value: ``(B, S, M, D)``.
        shapes: height and width of each level.
        locations: ``(B, Q, M, L, P, 2)``, ``(x, y)`` with 0 and 1 the outer edges of a level.
        weights: ``(B, Q, M, L, P)``.

    Returns:
        ``(B, Q, M * D)``.
    """
    batch, _, heads, channels = value.shape
    queries = locations.shape[1]
    grids = (2 * locations - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)
    weights = weights.permute(3, 0, 2, 1, 4).flatten(1, 2)[:, :, None]
    output = value.new_zeros(batch * heads, channels, queries)
    levels = value.split([h * w for h, w in shapes], dim=1)
    for level, (height, width), grid, weight in zip(levels, shapes, grids, weights, strict=True):
        plane = level.permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
        sampled = F.grid_sample(plane, grid, mode="bilinear", align_corners=False)
        output = output + (sampled * weight).sum(-1)
    return output.view(batch, heads * channels, queries).transpose(1, 2).contiguous()


def _shapes(value: Tensor, spatial_shapes: Tensor, locations: Tensor) -> list[tuple[int, int]]:
    shapes = [(int(h), int(w)) for h, w in spatial_shapes.tolist()]
    if len(shapes) != locations.shape[3] or sum(h * w for h, w in shapes) != value.shape[1]:
        raise ValueError(
            f"ms_deform_attn: {len(shapes)} levels of {shapes} do not fit {value.shape[1]} "
            f"positions and sampling locations of {locations.shape[3]} levels"
        )
    return shapes


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """mmcv's signature of :func:`deformable_attention`.

    Raises:
        ValueError: if the levels do not fit the values or the locations.
        TypeError, RuntimeError: if types or devices of the tensors differ.
    """
    operands = {"value": value, "locations": sampling_locations, "weights": attention_weights}
    check_operands("ms_deform_attn", **operands)
    shapes = _shapes(value, value_spatial_shapes, sampling_locations)
    tensors = full_precision(value, sampling_locations, attention_weights)
    return deformable_attention(tensors[0], shapes, *tensors[1:]).to(value.dtype)


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
    shapes = _shapes(value, value_spatial_shapes, sampling_locations)

    def attend(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return deformable_attention(value, shapes, locations, weights)

    found = gradients(attend, [value, sampling_locations, attention_weights], grad_output)
    for target, gradient in zip(
        (grad_value, grad_sampling_loc, grad_attn_weight), found, strict=True
    ):
        target.copy_(gradient)
