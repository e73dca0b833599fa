"""Deformable convolution, plain (DCN) and modulated (DCNv2), through torchvision.

``B`` batch, ``C`` channels, ``H W`` input, ``h w`` output, ``k`` positions of the kernel, ``G``
deformable groups. Offsets are ``(B, G * k * 2, h, w)``, masks ``(B, G * k, h, w)``. Names and
orders of the arguments, and the buffers ``columns`` and ``ones`` that are not needed here, are
mmcv's.
"""

import torch
from torch import Tensor
from torchvision.ops import deform_conv2d

from .common import check_operands, full_precision, gradients


def _convolve(input, offset, weight, mask=None, bias=None, **settings) -> Tensor:
    input, offset, weight = full_precision(input, offset, weight)
    mask, bias = (None if t is None else t.to(input.dtype) for t in (mask, bias))
    return deform_conv2d(input, offset, weight, mask=mask, bias=bias, **settings)


def _check(name, input, offset, weight, groups, deform_groups, **others) -> None:
    check_operands(name, input=input, offset=offset, weight=weight, **others)
    expected = 2 * deform_groups * weight.shape[2] * weight.shape[3]
    if offset.shape[1] != expected or input.shape[1] != weight.shape[1] * groups:
        raise ValueError(
            f"{name}: offsets have {offset.shape[1]} channels and the input {input.shape[1]}; a "
            f"weight of {tuple(weight.shape)} with {groups} groups and {deform_groups} deformable "
            f"groups needs {expected} and {weight.shape[1] * groups}"
        )


def _plain(kW, kH, dW, dH, padW, padH, dilationW, dilationH) -> dict:
    return dict(stride=(dH, dW), padding=(padH, padW), dilation=(dilationH, dilationW))


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    group: int,
    deformable_group: int,
    im2col_step: int,
    **geometry: int,
) -> None:
    """Write the convolution of ``input`` ``(B, C, H, W)`` to ``output`` ``(B, C', h, w)``."""
    _check("deform_conv2d", input, offset, weight, group, deformable_group)
    output.copy_(_convolve(input, offset, weight, **_plain(**geometry)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    group: int,
    deformable_group: int,
    im2col_step: int,
    **geometry: int,
) -> None:
    """Write the gradients of input and offsets."""
    settings = _plain(**geometry)

    def convolve(input: Tensor, offset: Tensor) -> Tensor:
        return _convolve(input, offset, weight, **settings)

    found = gradients(convolve, [input, offset], gradOutput)
    gradInput.copy_(found[0])
    gradOffset.copy_(found[1])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
    **geometry: int,
) -> None:
    """Add the gradient of the weight, times ``scale``, to ``gradWeight``."""
    settings = _plain(**geometry)

    def convolve(weight: Tensor) -> Tensor:
        return _convolve(input, offset, weight, **settings)

    # A convolution is linear in its weight: the gradient is the same whatever the weight was.
    gradWeight.add_(gradients(convolve, [torch.zeros_like(gradWeight)], gradOutput)[0], alpha=scale)


def _modulated(kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w):
    return dict(
        stride=(stride_h, stride_w), padding=(pad_h, pad_w), dilation=(dilation_h, dilation_w)
    )


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    group: int,
    deformable_group: int,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Write the modulated convolution of ``input`` ``(B, C, H, W)`` to ``output``."""
    _check("modulated_deform_conv2d", input, offset, weight, group, deformable_group, mask=mask)
    bias = bias if with_bias else None
    output.copy_(_convolve(input, offset, weight, mask, bias, **_modulated(**geometry)))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    group: int,
    deformable_group: int,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Write the gradients of all operands."""
    settings = _modulated(**geometry)

    def convolve(input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor, *bias) -> Tensor:
        return _convolve(input, offset, weight, mask, *bias, **settings)

    operands = [input, offset, weight, mask, *([bias] if with_bias else [])]
    targets = [grad_input, grad_offset, grad_weight, grad_mask, grad_bias]
    for target, gradient in zip(
        targets, gradients(convolve, operands, grad_output), strict=with_bias
    ):
        target.copy_(gradient)
