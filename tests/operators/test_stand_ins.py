"""The stand-ins in half precision, on bad input, and where mmcv has no compiled CPU kernel."""

import pytest
import torch
from torch.nn import functional as F

from mmseg_domino.operators import attention, boxes

from .records import CASES, call

SHAPES = [(5, 7), (3, 4)]


def attention_inputs(dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    positions = sum(h * w for h, w in SHAPES)
    value = torch.randn(2, positions, 3, 4, generator=g)
    locations = torch.rand(2, 6, 3, 2, 5, 2, generator=g) * 1.6 - 0.3  # also outside
    weights = torch.rand(2, 6, 3, 2, 5, generator=g)
    return [t.to(dtype) for t in (value, locations, weights)]


def levels():
    shapes = torch.tensor(SHAPES)
    return shapes, torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]])


def through_mmcv(value, locations, weights):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    return MultiScaleDeformableAttnFunction.apply(value, *levels(), locations, weights, 64)


def test_deformable_attention_is_mmcvs_reference_with_its_gradients():
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    found, expected = ([t.requires_grad_() for t in attention_inputs()] for _ in range(2))
    one = through_mmcv(*found)
    other = multi_scale_deformable_attn_pytorch(expected[0], levels()[0], *expected[1:])
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    one.sin().sum().backward()
    other.sin().sum().backward()
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5)


def test_deformable_attention_of_one_point_reads_that_pixel():
    value = torch.arange(12.0).view(1, 12, 1, 1)
    location = torch.tensor([(2 + 0.5) / 4, (1 + 0.5) / 3]).view(1, 1, 1, 1, 1, 2)  # x 2, y 1
    found = attention.deformable_attention(value, [(3, 4)], location, torch.ones(1, 1, 1, 1, 1))
    assert found.item() == pytest.approx(6.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_deformable_attention_in_half_precision(dtype):
    half = attention_inputs(dtype)
    value = half[0].requires_grad_()
    output = through_mmcv(*half)
    assert output.dtype == dtype
    output.float().sum().backward()
    assert value.grad.dtype == dtype
    reference = through_mmcv(*(t.detach().float() for t in half))
    torch.testing.assert_close(output.float(), reference, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("operator", CASES)
def test_half_precision_is_close_to_single(operator, dtype):
    inputs, options = next(iter(CASES[operator]()))
    half = {name: tensor.to(dtype) for name, tensor in inputs.items()}
    found = call(operator, half, options)
    expected = call(operator, {name: t.float() for name, t in half.items()}, options)
    for name, tensor in expected.items():
        if tensor.is_floating_point():
            assert found[name].dtype == dtype
        torch.testing.assert_close(found[name].float(), tensor.float(), rtol=3e-2, atol=6e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layers_learn_under_autocast(dtype):
    from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack, MultiScaleDeformableAttention

    torch.manual_seed(0)
    x = torch.randn(1, 4, 6, 6)
    attend = MultiScaleDeformableAttention(8, num_heads=2, num_levels=2, batch_first=True)
    query = torch.randn(1, 47, 8)
    points = torch.rand(1, 47, 2, 2)
    with torch.autocast("cpu", dtype):
        out = DeformConv2dPack(4, 4, 3, padding=1)(x).float().square().mean()
        out = out + ModulatedDeformConv2dPack(4, 4, 3, padding=1)(x).float().square().mean()
        attended = attend(query, reference_points=points, spatial_shapes=levels()[0],
                          level_start_index=levels()[1])  # fmt: skip
        out = out + attended.float().square().mean()
    out.backward()
    assert out.isfinite()
    assert attend.value_proj.weight.grad.abs().sum() > 0


def focal(x, target, gamma, alpha):
    """The closed form of the loss in float64."""
    p = x.double().sigmoid()
    hot = F.one_hot(target, x.shape[1] + 1)[:, :-1].bool()
    positive = -alpha * (1 - p) ** gamma * p.log()
    return torch.where(hot, positive, -(1 - alpha) * p**gamma * (1 - p).log())


@pytest.mark.parametrize("weighted", [False, True])
def test_focal_loss_is_its_formula(weighted):
    from mmcv.ops import sigmoid_focal_loss

    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = torch.arange(9) % (4 if weighted else 5)  # 4 is the background
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0]) if weighted else None
    y = x.detach().clone().requires_grad_()
    expected = focal(y, target, 1.5, 0.3)
    expected = (expected * weight[target, None] if weighted else expected).sum() / 9
    found = sigmoid_focal_loss(x, target, 1.5, 0.3, weight, "mean")
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    found.backward()
    expected.backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-7)


def roi_align(features, rois, aligned=True):
    output = features.new_zeros(len(rois), features.shape[1], 2, 2)
    empty = features.new_zeros(0)
    boxes.roi_align_forward(features, rois, output, empty, empty, 2, 2, 1.0, 0, 1, aligned)
    return output


BAD = {
    "NaN": ([[0.0, float("nan"), 1, 2, 3]], ValueError, "roi 0"),
    "turned": ([[0.0, 1, 1, 2, 2], [0, 3, 3, 1, 4]], ValueError, "roi 1"),
    "image": ([[2.0, 1, 1, 2, 2]], IndexError, "batch of 2"),
}


@pytest.mark.parametrize(("rois", "error", "match"), BAD.values(), ids=BAD)
def test_regions_that_cannot_be_read_are_refused(rois, error, match):
    with pytest.raises(error, match=match):
        roi_align(torch.zeros(2, 1, 8, 8), torch.tensor(rois))


def test_gaussian_soft_nms_keeps_the_scores_of_boxes_without_area():
    flat = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 1], [4, 4, 4, 4]])
    scores = torch.tensor([0.3, 0.9, 0.5])
    found = call("soft_nms", {"boxes": flat, "scores": scores}, {"method": "gaussian"})
    assert found["kept"].tolist() == [1, 2, 0]
    torch.testing.assert_close(found["dets"][:, 4], scores[[1, 2, 0]])


def test_operands_of_different_types_or_of_integers_are_refused():
    with pytest.raises(TypeError, match=r"rois are torch.float64 and input torch.float32"):
        roi_align(torch.zeros(1, 1, 8, 8), torch.zeros(1, 5, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"boxes are torch\.int64"):
        boxes.nms(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1), 0.5, 0)
    with pytest.raises(RuntimeError, match="scores are on meta and boxes on cpu"):
        boxes.nms(torch.zeros(1, 4), torch.zeros(1, device="meta"), 0.5, 0)


def test_a_wrong_number_of_levels_is_named():
    value, locations, weights = attention_inputs()
    with pytest.raises(ValueError, match="3 levels"):
        attention.ms_deform_attn_forward(
            value, torch.tensor([*SHAPES, (1, 1)]), None, locations, weights, 64
        )


def test_offsets_of_a_wrong_size_are_named():
    from mmcv.ops import deform_conv2d

    with pytest.raises(ValueError, match=r"offsets have 9 channels.*needs 18"):
        deform_conv2d(torch.zeros(1, 2, 5, 5), torch.zeros(1, 9, 3, 3), torch.zeros(2, 2, 3, 3))


@pytest.mark.gpu
@pytest.mark.parametrize("operator", CASES)
def test_on_a_gpu_all_is_as_on_the_cpu(operator):
    for inputs, options in CASES[operator]():
        found = call(operator, {name: t.cuda() for name, t in inputs.items()}, options)
        for name, tensor in call(operator, inputs, options).items():
            torch.testing.assert_close(found[name].cpu(), tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
def test_deformable_attention_on_a_gpu_is_as_on_the_cpu():
    leaves = [t.requires_grad_() for t in attention_inputs()]
    moved = [t.detach().cuda().requires_grad_() for t in leaves]
    shapes, starts = (t.cuda() for t in levels())
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    one = MultiScaleDeformableAttnFunction.apply(moved[0], shapes, starts, *moved[1:], 64)
    other = through_mmcv(*leaves)
    one.sin().sum().backward()
    other.sin().sum().backward()
    torch.testing.assert_close(one.cpu(), other, rtol=1e-4, atol=1e-5)
    for a, b in zip(moved, leaves, strict=True):
        torch.testing.assert_close(a.grad.cpu(), b.grad, rtol=1e-4, atol=1e-4)
