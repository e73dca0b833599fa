import copy

import pytest
import torch
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS
from torch import nn

import mmseg_domino.models  # noqa: F401  registers the parts

D = 6
RESNET = dict(
    type="ResNetV1c", depth=18, base_channels=8, stem_channels=8, norm_cfg=dict(type="BN")
)
SEGFORMER = dict(
    type="MixVisionTransformer", embed_dims=8, num_stages=4, num_layers=[1, 1, 1, 1],
    num_heads=[1, 1, 1, 1], patch_sizes=[7, 3, 3, 3], sr_ratios=[8, 4, 2, 1],
    drop_path_rate=0.0,
)  # fmt: skip
SWIN = dict(
    type="SwinTransformer", embed_dims=8, depths=(2, 1, 1, 1), num_heads=(1, 1, 1, 1),
    window_size=4, pretrain_img_size=64, drop_path_rate=0.0,
)  # fmt: skip
CONVNEXT = dict(
    type="mmpretrain.ConvNeXt", arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 16, 16]),
    out_indices=[0, 1, 2, 3], gap_before_final_norm=False, drop_path_rate=0.0,
)  # fmt: skip
BACKBONES = {"resnet": RESNET, "segformer": SEGFORMER, "swin": SWIN, "convnext": CONVNEXT}


def build(config, **kwargs):
    import mmpretrain.models  # noqa: F401  registers ConvNeXt

    torch.manual_seed(0)
    return MODELS.build(
        dict(type="DominoBackbone", backbone=copy.deepcopy(config), domain_channels=D, **kwargs)
    )


def stir(backbone):
    """Give the modulations, and the layers' own parameters, values that show."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if name.startswith("domain.") and ".out." in name:
                parameter.normal_(std=0.3)
            elif parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return backbone


def images(batch=2):
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def domains(batch=2):
    return torch.randn(batch, D, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=BACKBONES, ids=list(BACKBONES))
def config(request):
    return BACKBONES[request.param]


def test_it_starts_as_the_plain_backbone_with_the_same_names(config):
    wrapped = build(config).eval()
    plain = build(config, injection="none").wrapped
    plain.eval()
    own = {k: v for k, v in wrapped.state_dict().items() if not k.startswith("domain.")}
    plain_state = {k: v for k, v in plain.state_dict().items() if not k.startswith("domain.")}
    assert list(own) == list(plain_state)
    plain.load_state_dict(own)
    assert len(wrapped.adapted_norms) > 5
    for ours, theirs in zip(wrapped(images(), domains()), plain(images()), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_domain_matters_and_each_image_gets_its_own(config):
    wrapped = stir(build(config)).eval()
    together = wrapped(images(), domains())
    swapped = wrapped(images(), domains().flip(0))
    for level, other in zip(together, swapped, strict=True):
        assert (level - other).abs().amax(dim=(1, 2, 3)).min() > 1e-3
    for i in range(2):
        alone = wrapped(images()[i : i + 1], domains()[i : i + 1])
        for level, single in zip(together, alone, strict=True):
            torch.testing.assert_close(level[i : i + 1], single, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("injection", "sign"), [("add", 1), ("subtract", -1)])
@pytest.mark.parametrize(
    ("norm", "x"),
    [
        (nn.BatchNorm2d(4), torch.randn(3, 4, 5, 5)),
        (nn.GroupNorm(2, 4), torch.randn(3, 4, 5, 5)),
        (nn.LayerNorm(4), torch.randn(3, 7, 4)),
        (nn.InstanceNorm2d(4, affine=True), torch.randn(3, 4, 5, 5)),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_a_layer_computes_the_equation(norm, x, injection, sign):
    from mmseg_domino.models.layers.domain_affine import DomainAffineState, make_domain_affine

    norm = copy.deepcopy(norm)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    plain = copy.deepcopy(norm)
    nn.init.ones_(plain.weight)
    nn.init.zeros_(plain.bias)
    state = DomainAffineState(injection)
    g, h = torch.randn(3, 4), torch.randn(3, 4)
    state.values["n"] = g, h
    make_domain_affine(norm, "n", state)
    shape = (3, 1, 4) if x.ndim == 3 else (3, 4, 1, 1)
    scale = (norm.weight + sign * g).view(shape)
    shift = (norm.bias + sign * h).view(shape)
    torch.testing.assert_close(norm(x), scale * plain(x) + shift)
    assert norm.state_dict().keys() == plain.state_dict().keys()
    for name, buffer in norm.named_buffers():
        torch.testing.assert_close(buffer, plain.get_buffer(name))


def test_a_published_checkpoint_of_a_whole_segmentor_loads(tmp_path):
    head = dict(type="FCNHead", in_channels=64, in_index=3, channels=8, num_classes=4)
    stock = MODELS.build(dict(type="EncoderDecoder", backbone=RESNET, decode_head=head))
    torch.save(dict(state_dict=stock.state_dict()), tmp_path / "stock.pth")
    model = MODELS.build(
        dict(
            type="DominoEncoderDecoder",
            backbone=dict(type="DominoBackbone", backbone=RESNET, domain_channels=D),
            decode_head=head,
        )
    )
    load_checkpoint(model, str(tmp_path / "stock.pth"), map_location="cpu")
    for name, value in stock.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    new = set(model.state_dict()) - set(stock.state_dict())
    assert new
    assert all(name.startswith("backbone.domain.") for name in new)


def test_the_wrapped_backbone_initialises_itself_from_its_checkpoint(tmp_path):
    published = MODELS.build(SWIN).state_dict()
    torch.save(dict(state_dict=published), tmp_path / "swin.pth")
    init = dict(type="Pretrained", checkpoint=str(tmp_path / "swin.pth"))
    wrapped = build({**SWIN, "init_cfg": init})
    wrapped.init_weights()
    for name, value in published.items():
        assert torch.equal(wrapped.state_dict()[name], value), name
    assert not any(m.out.weight.any() for m in wrapped.domain.values())


@pytest.mark.parametrize("name", ["segformer", "swin"])
def test_gradient_checkpointing_gives_the_same_gradients(name):
    results = []
    for with_cp in (False, True):
        backbone = stir(build({**BACKBONES[name], "with_cp": with_cp})).train()
        sum(level.square().mean() for level in backbone(images(), domains())).backward()
        results.append({n: p.grad for n, p in backbone.named_parameters()})
    assert any(n.startswith("domain.") and g.abs().sum() > 0 for n, g in results[0].items())
    for parameter, gradient in results[0].items():
        torch.testing.assert_close(results[1][parameter], gradient, rtol=1e-4, atol=1e-6)


def test_sync_bn_conversion_keeps_the_layers_adaptive():
    from mmengine.model import revert_sync_batchnorm

    backbone = stir(build(RESNET)).eval()
    before = backbone(images(), domains())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(backbone))
    assert any(isinstance(m, nn.SyncBatchNorm) for m in converted.modules())
    for model in (converted, revert_sync_batchnorm(converted)):
        for level, other in zip(before, model.eval()(images(), domains()), strict=True):
            torch.testing.assert_close(level, other, rtol=1e-4, atol=1e-5)


def test_a_copy_is_independent():
    backbone = stir(build(RESNET)).eval()
    before = backbone(images(), domains())
    twin = copy.deepcopy(backbone)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    twin(images(), domains())
    for level, other in zip(before, backbone(images(), domains()), strict=True):
        assert torch.equal(level, other)


def test_frozen_trains_only_the_new_parameters():
    backbone = build(RESNET, frozen=True).train()
    trained = [n for n, p in backbone.named_parameters() if p.requires_grad]
    assert trained
    assert all(n.startswith("domain.") for n in trained)
    statistics = {n: b.clone() for n, b in backbone.named_buffers()}
    backbone(images(), domains())
    assert all(torch.equal(b, statistics[n]) for n, b in backbone.named_buffers())


def test_half_precision_autocast_stays_close():
    backbone = stir(build(SEGFORMER)).eval()
    full = backbone(images(), domains())
    with torch.autocast("cpu", torch.bfloat16):
        half = backbone(images(), domains())
    for level, other in zip(full, half, strict=True):
        assert (level - other).abs().mean() < 0.05 * level.abs().mean()


def test_layers_are_chosen_by_name_and_type():
    assert all(n.startswith("layer3") for n in build(RESNET, norms=r"^layer3").adapted_norms)
    assert build(SWIN, norm_types=("LayerNorm",)).adapted_norms
    with pytest.raises(ValueError, match=r"choose none .* types are \['BatchNorm2d'\]"):
        build(RESNET, norm_types=("LayerNorm",))


def test_bad_input_is_explained():
    backbone = build(RESNET).eval()
    with pytest.raises(ValueError, match="needs a domain embedding"):
        backbone(images())
    with pytest.raises(ValueError, match=r"shape \(2, 6\), got \(2, 5\)"):
        backbone(images(), domains()[:, :5])
    with pytest.raises(RuntimeError, match=r"ran outside DominoBackbone\.forward"):
        build(RESNET).eval().wrapped(images())
    with pytest.raises(ValueError, match="unknown injection"):
        build(RESNET, injection="minus")
