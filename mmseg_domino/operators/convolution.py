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


def _plain(kW, kH, dW, dH, padW, padH, dilationW, dilationH, **_) -> dict:
    return dict(stride=(dH, dW), padding=(padH, padW), dilation=(dilationH, dilationW))


def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, *buffers: Tensor, **options: int
) -> None:
    """Write the convolution of ``input`` ``(B, C, H, W)`` to ``output`` ``(B, C', h, w)``."""
    groups = options["group"], options["deformable_group"]
    _check("deform_conv2d", input, offset, weight, *groups)
    output.copy_(_convolve(input, offset, weight, **_plain(**options)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **options: int,
) -> None:
    """Write the gradients of input and offsets."""
    settings = _plain(**options)

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
    *buffers: Tensor,
    scale: float,
    **options: int,
) -> None:
    """Add the gradient of the weight, times ``scale``, to ``gradWeight``."""
    settings = _plain(**options)

    def convolve(weight: Tensor) -> Tensor:
        return _convolve(input, offset, weight, **settings)

    # A convolution is linear in its weight: the gradient is the same whatever the weight was.
    gradWeight.add_(gradients(convolve, [torch.zeros_like(gradWeight)], gradOutput)[0], alpha=scale)


def _modulated(options: dict) -> dict:
    stride, padding, dilation = (
        (options[f"{name}_h"], options[f"{name}_w"]) for name in ("stride", "pad", "dilation")
    )
    return dict(stride=stride, padding=padding, dilation=dilation)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    **options: int,
) -> None:
    """Write the modulated convolution of ``input`` ``(B, C, H, W)`` to ``output``."""
    groups = options["group"], options["deformable_group"]
    _check("modulated_deform_conv2d", input, offset, weight, *groups, mask=mask)
    bias = bias if options["with_bias"] else None
    output.copy_(_convolve(input, offset, weight, mask, bias, **_modulated(options)))


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
    with_bias: bool,
    **options: int,
) -> None:
    """Write the gradients of all operands."""
    settings = _modulated(options)

    def convolve(input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor, *bias) -> Tensor:
        return _convolve(input, offset, weight, mask, *bias, **settings)

    operands = [input, offset, weight, mask, *([bias] if with_bias else [])]
    targets = [grad_input, grad_offset, grad_weight, grad_mask, grad_bias]
    for target, gradient in zip(
        targets, gradients(convolve, operands, grad_output), strict=with_bias
    ):
        target.copy_(gradient)
