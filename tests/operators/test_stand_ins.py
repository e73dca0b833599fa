"""The stand-ins in half precision, on bad input, and where mmcv has no compiled CPU kernel."""

import pytest
import torch
from torch.nn import functional as F

from mmseg_domino.operators import attention, boxes

from .records import CASES, call

SHAPES = [(5, 7), (3, 4)]


def attention_inputs(dtype=torch.float32, device="cpu"):
    g = torch.Generator().manual_seed(0)
    positions = sum(h * w for h, w in SHAPES)
    value = torch.randn(2, positions, 3, 4, generator=g)
    locations = torch.rand(2, 6, 3, 2, 5, 2, generator=g) * 1.6 - 0.3  # also outside
    weights = torch.rand(2, 6, 3, 2, 5, generator=g)
    return [t.to(device, dtype) for t in (value, locations, weights)]


def levels(device="cpu"):
    shapes = torch.tensor(SHAPES, device=device)
    return shapes, torch.cat([shapes.new_zeros(1), shapes.prod(1).cumsum(0)[:-1]])


def through_mmcv(value, locations, weights):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    return MultiScaleDeformableAttnFunction.apply(
        value, *levels(value.device), locations, weights, 64
    )


def test_deformable_attention_is_mmcvs_reference_with_its_gradients(device):
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    found = [t.requires_grad_() for t in attention_inputs(device=device)]
    expected = [t.requires_grad_() for t in attention_inputs()]
    one = through_mmcv(*found)
    other = multi_scale_deformable_attn_pytorch(expected[0], levels()[0], *expected[1:])
    torch.testing.assert_close(one.cpu(), other, rtol=1e-5, atol=1e-6)
    one.sin().sum().backward()
    other.sin().sum().backward()
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.grad.cpu(), b.grad, rtol=1e-5, atol=1e-5)


def test_deformable_attention_differentiates_itself_as_its_backward_operator_does():
    direct, through = ([t.requires_grad_() for t in attention_inputs()] for _ in range(2))
    attention.deformable_attention(direct[0], *levels(), *direct[1:]).sin().sum().backward()
    through_mmcv(*through).sin().sum().backward()
    for a, b in zip(direct, through, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)


def test_deformable_attention_of_one_point_reads_that_pixel(device):
    value = torch.arange(12.0, device=device).view(1, 12, 1, 1)
    location = torch.tensor([(2 + 0.5) / 4, (1 + 0.5) / 3], device=device)  # x 2, y 1
    shapes = torch.tensor([[3, 4]], device=device)
    found = attention.deformable_attention(
        value, shapes, shapes.new_zeros(1), location.view(1, 1, 1, 1, 1, 2),
        torch.ones(1, 1, 1, 1, 1, device=device),
    )  # fmt: skip
    assert found.item() == pytest.approx(6.0)


def test_deformable_attention_of_no_queries_and_of_points_that_are_no_numbers():
    value, locations, weights = (t.requires_grad_() for t in attention_inputs())
    empty = through_mmcv(value, locations[:, :0], weights[:, :0])
    assert empty.shape == (2, 0, 12)
    empty.sum().backward()
    assert not value.grad.any()
    with torch.no_grad():
        locations[0, 0], locations[0, 1] = float("nan"), 1e30
    found = through_mmcv(value, locations, weights)
    assert found[0, 0].isnan().all()
    assert not found[0, 1].any()
    assert found[0, 2:].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_deformable_attention_in_half_precision(dtype, device):
    half = attention_inputs(dtype, device)
    value = half[0].requires_grad_()
    output = through_mmcv(*half)
    assert output.dtype == dtype
    output.float().sum().backward()
    assert value.grad.dtype == dtype
    reference = through_mmcv(*(t.detach().float() for t in half))
    torch.testing.assert_close(output.float(), reference, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("operator", CASES)
def test_half_precision_is_close_to_single(operator, dtype, device):
    inputs, options = next(iter(CASES[operator]()))
    half = {name: tensor.to(device, dtype) for name, tensor in inputs.items()}
    found = call(operator, half, options)
    expected = call(operator, {name: t.float() for name, t in half.items()}, options)
    for name, tensor in expected.items():
        if tensor.is_floating_point():
            assert found[name].dtype == dtype
        torch.testing.assert_close(found[name].float(), tensor.float(), rtol=3e-2, atol=6e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layers_learn_under_autocast(dtype, device):
    from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack, MultiScaleDeformableAttention

    torch.manual_seed(0)
    x = torch.randn(1, 4, 6, 6, device=device)
    attend = MultiScaleDeformableAttention(8, num_heads=2, num_levels=2, batch_first=True)
    layers = [kind(4, 4, 3, padding=1) for kind in (DeformConv2dPack, ModulatedDeformConv2dPack)]
    query = torch.randn(1, 47, 8, device=device)
    points = torch.rand(1, 47, 2, 2, device=device)
    shapes, starts = levels(device)
    with torch.autocast(device.type, dtype):
        out = sum(layer.to(device)(x).float().square().mean() for layer in layers)
        attended = attend.to(device)(query, reference_points=points, spatial_shapes=shapes,
                                     level_start_index=starts)  # fmt: skip
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
def test_focal_loss_is_its_formula(weighted, device):
    from mmcv.ops import sigmoid_focal_loss

    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    target = torch.arange(9, device=device) % (4 if weighted else 5)  # 4 is the background
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0], device=device) if weighted else None
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
    size = {"aligned_height": 2, "aligned_width": 2, "spatial_scale": 1.0, "sampling_ratio": 0}
    options = {**size, "pool_mode": 1, "aligned": aligned}
    boxes.roi_align_forward(features, rois, output, empty, empty, **options)
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
    with pytest.raises(ValueError, match=r"\[\[5, 7\], \[3, 3\]\] do not fit 47 positions"):
        attention.ms_deform_attn_forward(
            value, torch.tensor([(5, 7), (3, 3)]), None, locations, weights, 64
        )


def test_offsets_of_a_wrong_size_are_named():
    from mmcv.ops import deform_conv2d

    with pytest.raises(ValueError, match=r"offsets have 9 channels.*needs 18"):
        deform_conv2d(torch.zeros(1, 2, 5, 5), torch.zeros(1, 9, 3, 3), torch.zeros(2, 2, 3, 3))
