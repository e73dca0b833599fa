import copy
import pickle

import pytest
import torch
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS
from torch import nn

import mmseg_domino.models  # noqa: F401  registers the parts
from tests.processes import run_processes

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


def test_it_starts_as_the_plain_backbone_with_the_same_names(config, device):
    wrapped = build(config).eval().to(device)
    plain = build(config, injection="none").backbone.to(device)
    plain.eval()
    own = {k: v for k, v in wrapped.state_dict().items() if not k.startswith("domain.")}
    plain_state = {k: v for k, v in plain.state_dict().items() if not k.startswith("domain.")}
    assert list(own) == list(plain_state)
    plain.load_state_dict(own)
    assert len(wrapped.domain.names) > 5
    for ours, theirs in zip(
        wrapped(images().to(device), domains().to(device)), plain(images().to(device)), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_the_domain_matters_and_each_image_gets_its_own(config, device):
    wrapped = stir(build(config)).to(device).eval()
    together = wrapped(images().to(device), domains().to(device))
    swapped = wrapped(images().to(device), domains().to(device).flip(0))
    for level, other in zip(together, swapped, strict=True):
        assert (level - other).abs().amax(dim=(1, 2, 3)).min() > 1e-3
    for i in range(2):
        alone = wrapped(images().to(device)[i : i + 1], domains().to(device)[i : i + 1])
        for level, single in zip(together, alone, strict=True):
            torch.testing.assert_close(level[i : i + 1], single, rtol=1e-3, atol=1e-4)


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


def test_what_a_checkpoint_lacks_is_called_by_its_own_name():
    from mmengine.runner.checkpoint import load_state_dict

    backbone = build(SWIN, tune="lora", adapter=dict(rank=2))
    state = backbone.state_dict()
    gone = ("stages.0.blocks.0.norm1.weight", "stages.0.blocks.0.attn.w_msa.qkv.weight")
    for name in gone:
        del state[name]
    assert set(backbone.load_state_dict(state, strict=False).missing_keys) == set(gone)
    with pytest.raises(RuntimeError, match=r"missing keys in source state_dict: stages\.0\.blocks"):
        load_state_dict(backbone, state, strict=True)


def test_the_wrapped_backbone_initialises_itself_from_its_checkpoint(tmp_path):
    published = MODELS.build(SWIN).state_dict()
    torch.save(dict(state_dict=published), tmp_path / "swin.pth")
    init = dict(type="Pretrained", checkpoint=str(tmp_path / "swin.pth"))
    wrapped = build({**SWIN, "init_cfg": init})
    wrapped.init_weights()
    for name, value in published.items():
        assert torch.equal(wrapped.state_dict()[name], value), name
    assert not wrapped.domain.modulation.out.weight.any()


@pytest.mark.parametrize("name", ["segformer", "swin"])
def test_gradient_checkpointing_gives_the_same_gradients(name, device):
    results = []
    for with_cp in (False, True):
        backbone = stir(build({**BACKBONES[name], "with_cp": with_cp})).to(device).train()
        sum(
            level.square().mean() for level in backbone(images().to(device), domains().to(device))
        ).backward()
        results.append({n: p.grad for n, p in backbone.named_parameters()})
    assert any(n.startswith("domain.") and g.abs().sum() > 0 for n, g in results[0].items())
    for parameter, gradient in results[0].items():
        torch.testing.assert_close(results[1][parameter], gradient, rtol=1e-4, atol=1e-6)


def test_sync_bn_conversion_keeps_the_layers_adaptive(device):
    from mmengine.model import revert_sync_batchnorm

    backbone = stir(build(RESNET)).to(device).eval()
    before = backbone(images().to(device), domains().to(device))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(backbone))
    assert any(isinstance(m, nn.SyncBatchNorm) for m in converted.modules())
    for model in (converted, revert_sync_batchnorm(converted)):
        for level, other in zip(
            before, model.eval()(images().to(device), domains().to(device)), strict=True
        ):
            torch.testing.assert_close(level, other, rtol=1e-4, atol=1e-5)


def test_a_copy_is_independent(device):
    backbone = stir(build(RESNET)).to(device).eval()
    before = backbone(images().to(device), domains().to(device))
    twin = copy.deepcopy(backbone)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    twin(images().to(device), domains().to(device))
    for level, other in zip(
        before, backbone(images().to(device), domains().to(device)), strict=True
    ):
        assert torch.equal(level, other)


def test_frozen_trains_only_the_new_parameters(device):
    backbone = build(RESNET, tune="frozen").to(device).train()
    trained = [n for n, p in backbone.named_parameters() if p.requires_grad]
    assert trained
    assert all(n.startswith("domain.") for n in trained)
    statistics = {n: b.clone() for n, b in backbone.named_buffers()}
    backbone(images().to(device), domains().to(device))
    assert all(torch.equal(b, statistics[n]) for n, b in backbone.named_buffers())


def test_half_precision_autocast_stays_close(device):
    backbone = stir(build(SEGFORMER)).to(device).eval()
    full = backbone(images().to(device), domains().to(device))
    with torch.autocast(device.type, torch.bfloat16):
        half = backbone(images().to(device), domains().to(device))
    for level, other in zip(full, half, strict=True):
        assert (level - other).abs().mean() < 0.05 * level.abs().mean()


def test_layers_are_chosen_by_name_and_type():
    assert all(n.startswith("layer3") for n in build(RESNET, norms=r"^layer3").domain.names)
    assert build(SWIN, norms=dict(types=("LayerNorm",))).domain.names
    with pytest.raises(ValueError, match=r"choose none .* types are \['BatchNorm2d'\]"):
        build(RESNET, norms=dict(types=("LayerNorm",)))


def test_bad_input_is_explained():
    backbone = build(RESNET).eval()
    with pytest.raises(ValueError, match="needs a domain embedding"):
        backbone(images())
    with pytest.raises(ValueError, match=r"shape \(2, 6\), got \(2, 5\)"):
        backbone(images(), domains()[:, :5])
    with pytest.raises(RuntimeError, match=r"ran outside the network"):
        build(RESNET).eval().backbone(images())
    with pytest.raises(ValueError, match="unknown injection"):
        build(RESNET, injection="minus")


def test_a_whole_segmentor_initialises_with_a_wrapped_backbone():
    head = dict(type="FCNHead", in_channels=64, in_index=3, channels=8, num_classes=4)
    backbone = dict(type="DominoBackbone", backbone=RESNET, domain_channels=D)
    model = MODELS.build(dict(type="EncoderDecoder", backbone=backbone, decode_head=head))
    before = model.backbone.backbone.layer1[0].conv1.weight.clone()
    model.init_weights()
    assert not torch.equal(before, model.backbone.backbone.layer1[0].conv1.weight)
    assert not model.backbone.domain.modulation.out.weight.any()
    assert not any(hasattr(m, "_params_init_info") for m in model.modules())


@MODELS.register_module()
class _Toy(nn.Module):
    """Norms of other libraries, and blocks under either kind of gradient checkpointing."""

    def __init__(self, norm, checkpoint=None, act=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm, self.act, self.checkpoint = norm, act, checkpoint

    def block(self, x):
        x = self.norm(self.conv(x)).tanh()
        return x if self.act is None else self.act(x)

    def forward(self, x):
        if self.checkpoint is None:
            return self.block(x)
        reentrant = self.checkpoint == "reentrant"
        return torch.utils.checkpoint.checkpoint(self.block, x, use_reentrant=reentrant)


def toy(norm, **kwargs):
    config = dict(type="_Toy", norm=norm, **kwargs)
    torch.manual_seed(0)
    return stir(MODELS.build(dict(type="DominoBackbone", backbone=config, domain_channels=D)))


def other_norms():
    from timm.layers import BatchNormAct2d, LayerNorm2d, LayerNormAct2d, RmsNorm2d
    from transformers.models.convnext.modeling_convnext import ConvNextLayerNorm

    return [
        BatchNormAct2d(4), LayerNorm2d(4), LayerNormAct2d(4), RmsNorm2d(4),
        ConvNextLayerNorm(4, data_format="channels_first"),
    ]  # fmt: skip


@pytest.mark.parametrize("norm", other_norms(), ids=lambda n: type(n).__name__)
def test_norms_of_other_libraries_follow_the_equation(norm, device):
    # The layer must be its own plain self with other parameters.
    plain = copy.deepcopy(norm).to(device)
    backbone = toy(norm).to(device).eval()
    g, h = backbone.domain.values(domains(1).to(device), 1)[0].detach()
    own = backbone.backbone.norm
    with torch.no_grad():
        plain.weight.copy_(own.weight * (1 + g))
        shift = h.view(1, 4, 1, 1)
        if own.bias is not None:
            plain.bias.copy_(own.bias * (1 + g) + h)
            shift = 0
    plain.eval()
    expected = (plain(backbone.backbone.conv(images(1).to(device))) + shift).tanh()
    torch.testing.assert_close(
        backbone(images(1).to(device), domains(1).to(device)), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["resnet", "segformer", "swin"])
def test_a_trained_domain_passes_reentrant_checkpointing(name):
    results = []
    for with_cp in (False, True):
        backbone = stir(build({**BACKBONES[name], "with_cp": with_cp})).train()
        table = domains().requires_grad_()
        sum(level.square().mean() for level in backbone(images(), table * 2)).backward()
        results.append([table.grad, *(p.grad for p in backbone.domain.parameters())])
    assert all(g.abs().sum() > 0 for g in results[0])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(recomputed, plain, rtol=1e-3, atol=1e-6)


def test_it_survives_copies_averages_and_graphs(tmp_path):
    from mmengine.model import ExponentialMovingAverage

    small = dict(num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,))
    backbone = stir(build({**RESNET, **small})).eval()
    expected = backbone(images(), domains())[0].detach()
    restored = pickle.loads(pickle.dumps(backbone))
    torch.save(backbone, tmp_path / "whole.pth")
    averaged = ExponentialMovingAverage(backbone)
    averaged.update_parameters(backbone)
    for copied in (
        copy.deepcopy(backbone),
        restored,
        torch.load(tmp_path / "whole.pth", weights_only=False),
        averaged.module,
    ):
        assert torch.equal(copied(images(), domains())[0], expected)
        assert list(copied.state_dict()) == list(backbone.state_dict())
    arguments = (images(), domains())
    with torch.no_grad():
        traced = torch.jit.trace(backbone, arguments, check_trace=False)
        exported = torch.export.export(backbone, arguments).module()
        other = backbone(images(), domains().flip(0))[0]
        for graph in (traced, exported):
            torch.testing.assert_close(graph(*arguments)[0], expected)
            torch.testing.assert_close(graph(images(), domains().flip(0))[0], other)


def test_one_network_serves_all_layers():
    backbone = build(dict(type="ResNet", depth=50))
    norms = [m for m in backbone.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(backbone.domain.names) == len(norms) == 53
    own = sum(p.numel() for p in backbone.domain.parameters())
    assert own == (D + 1) * 64 + (64 + 1) * 2 * sum(m.num_features for m in norms)


def test_at_the_centre_it_is_the_plain_backbone():
    def make():
        return build(RESNET, norms=dict(space="joint"), centre="clear_day").eval()

    backbone = stir(make())
    with pytest.raises(RuntimeError, match="was not read: call init_weights"):
        backbone(images(), domains())
    backbone.domain.centre.set(domains()[0])
    ours = backbone(images(), domains())
    state = backbone.state_dict()
    plain = build(RESNET, injection="none").eval()
    plain.load_state_dict({k: v for k, v in state.items() if not k.startswith("domain.")})
    for level, other in zip(ours, plain(images()), strict=True):
        torch.testing.assert_close(level[0], other[0])
        assert (level[1] - other[1]).abs().max() > 1e-3
    again = make()
    again.load_state_dict(state)
    assert torch.equal(again(images(), domains())[0], ours[0])


def test_each_part_takes_the_space_that_it_names():
    backbone = stir(build(RESNET, norms=dict(space="joint"))).eval()
    both = dict(joint=domains(), context=domains().flip(0))
    assert torch.equal(backbone(images(), both)[0], backbone(images(), domains())[0])
    with pytest.raises(ValueError, match="carry domain embeddings of context, and DomainNorms"):
        backbone(images(), dict(context=domains()))
    with pytest.raises(ValueError, match="names none of them: give `space`"):
        build(RESNET).eval()(images(), both)


def test_options_without_effect_are_refused():
    with pytest.raises(ValueError, match="has nothing but norm layers to adapt"):
        build(RESNET, norms=None)
    with pytest.raises(ValueError, match=r"norms\.injection='add' would have no effect"):
        build(RESNET, injection="none", norms=dict(injection="add"))
    with pytest.raises(ValueError, match=r"unknown options \['pattern'\] in `norms`; valid: lay"):
        build(RESNET, norms=dict(pattern="layer1"))
    with pytest.raises(ValueError, match="a centre needs to know in which space"):
        build(RESNET, centre="clear_day")


@pytest.mark.parametrize("kind", ["reentrant", "other"])
def test_recomputation_sees_the_domain_of_its_own_forward_pass(kind, device):
    gradients = []
    for checkpoint in (None, kind):
        backbone = toy(nn.GroupNorm(2, 4), checkpoint=checkpoint).to(device).train()
        # Reentrant checkpointing needs an input with a gradient.
        x = images().to(device).requires_grad_()
        # All forward passes come before any backward pass.
        losses = [
            (backbone(x, domains().to(device) * scale + shift) * weight).sum()
            for scale, shift, weight in ((1, 0, 1), (-3, 1, 2), (0.5, -2, 3))
        ]
        sum(losses).backward()
        with torch.no_grad():
            backbone(images(3).to(device), domains(3).to(device))
        gradients.append([p.grad for p in backbone.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_the_inputs_own_gradient_flows_to_a_trained_domain(device):
    backbone = stir(build(RESNET)).to(device).train()
    domain = domains().to(device).requires_grad_()
    sum(level.square().mean() for level in backbone(images().to(device), domain)).backward()
    assert domain.grad.abs().sum(dim=1).min() > 0


def test_a_compiled_backbone_follows_the_domain(device):
    backbone = (
        stir(
            build(
                {**RESNET, "num_stages": 1, "strides": (1,), "dilations": (1,), "out_indices": (0,)}
            )
        )
        .to(device)
        .eval()
    )
    compiled = torch.compile(backbone, backend="aot_eager", fullgraph=True)
    for domain in (domains().to(device), domains().to(device).flip(0)):
        for level, other in zip(
            compiled(images().to(device), domain),
            backbone(images().to(device), domain),
            strict=True,
        ):
            torch.testing.assert_close(level, other, rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()


def test_a_compiled_backbone_trains_with_the_same_gradients(device):
    gradients = []
    for compiled in (False, True):
        backbone = toy(nn.GroupNorm(2, 4), checkpoint="other").to(device).train()
        run = torch.compile(backbone, backend="aot_eager") if compiled else backbone
        run(images().to(device), domains().to(device)).square().mean().backward()
        gradients.append([p.grad for p in backbone.parameters()])
    torch._dynamo.reset()
    for eager, other in zip(*gradients, strict=True):
        torch.testing.assert_close(eager, other)


def _ddp_worker(rank, folder):
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=2)
    backbone = toy(nn.GroupNorm(2, 4), checkpoint="other").train()
    model = nn.parallel.DistributedDataParallel(backbone)
    model(images()[rank : rank + 1], domains()[rank : rank + 1]).square().mean().backward()
    if rank == 0:
        torch.save({n: p.grad for n, p in backbone.named_parameters()}, f"{folder}/gradients.pth")
    torch.distributed.barrier()  # one that leaves early takes the meeting's file with it
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_gradients_of_one(tmp_path):
    run_processes(_ddp_worker, (str(tmp_path),))
    distributed = torch.load(tmp_path / "gradients.pth")
    backbone = toy(nn.GroupNorm(2, 4)).train()
    backbone(images(), domains()).square().mean().backward()
    for name, parameter in backbone.named_parameters():
        torch.testing.assert_close(distributed[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_lora_keeps_names_starts_as_the_backbone_and_trains_little(tmp_path, device):
    lora = dict(rank=2, targets=r"attn")
    backbone = build(SWIN, tune="lora", adapter=lora)
    plain = build(SWIN, tune="frozen")
    published = stir(build(SWIN, injection="none")).state_dict()
    torch.save(published, tmp_path / "swin.pth")
    backbone.init_weights()
    for model in (backbone, plain):
        load_checkpoint(model, str(tmp_path / "swin.pth"), map_location="cpu")
        assert all(torch.equal(model.state_dict()[k], v) for k, v in published.items())
    new = set(backbone.state_dict()) - set(plain.state_dict())
    assert new
    assert all(".lora_" in key for key in new)
    trained = {n for n, p in backbone.named_parameters() if p.requires_grad}
    assert trained
    assert all(".lora_" in n or n.startswith("domain.") for n in trained)
    for ours, theirs in zip(
        backbone.to(device).eval()(images().to(device), domains().to(device)),
        plain.to(device).eval()(images().to(device), domains().to(device)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    backbone.train()
    sum(
        level.square().mean() for level in backbone(images().to(device), domains().to(device))
    ).backward()
    assert all(p.grad is not None for n, p in backbone.named_parameters() if n in trained)
    again = build(SWIN, tune="lora", adapter=lora)
    again.load_state_dict(backbone.state_dict())


def test_lora_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match=r"unknown options \['r'\] in `adapter`; valid: rank"):
        build(SWIN, tune="lora", adapter=dict(r=2))
    with pytest.raises(ValueError, match="fit none of the"):
        build(RESNET, tune="lora", adapter=dict(targets="attn"))
    with pytest.raises(
        ValueError, match="`adapter` has the options of tune='lora', 'rein', 'soma'"
    ):
        build(SWIN, adapter=dict(rank=2))
    with pytest.raises(
        ValueError, match="unknown tune 'half'; valid ones are full, frozen, norms, lora"
    ):
        build(SWIN, tune="half")


@MODELS.register_module()
class _TwoInputs(nn.Module):
    def forward(self, x, context):
        return x


def test_a_backbone_that_needs_more_than_images_is_refused():
    with pytest.raises(ValueError, match=r"_TwoInputs\.forward needs \['x', 'context'\]"):
        build(dict(type="_TwoInputs"))


@MODELS.register_module()
class _Folded(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(3)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1).reshape(-1, 2, 3))


def test_a_layer_with_positions_in_its_batch_is_refused(device):
    with pytest.raises(ValueError, match="norm sees a batch of 4096 for 2 images"):
        build(dict(type="_Folded")).to(device)(images().to(device), domains().to(device))


def test_missing_weights_of_stock_backbones_are_explained(tmp_path, monkeypatch):
    import urllib.request
    from urllib.error import URLError

    from huggingface_hub import constants

    def unreachable(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    init = dict(type="Pretrained", checkpoint="https://example.org/swin-x.pth")
    for config in ({**SWIN, "init_cfg": init}, {**RESNET, "pretrained": init["checkpoint"]}):
        with pytest.raises(
            FileNotFoundError, match=r"(?s)no network.*load_state_dict_from_url\('https"
        ):
            build(config).init_weights()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(torch.hub, "urlopen", None)
    published = {**RESNET, "pretrained": "open-mmlab://resnet18_v1c"}
    with pytest.raises(
        FileNotFoundError, match=r"checkpoints/resnet18_v1c-.*HF_HUB_OFFLINE is set"
    ):
        build(published).init_weights()
    # What lies in the cache is read, offline, too.
    file = tmp_path / "hub" / "checkpoints" / "swin-x.pth"
    file.parent.mkdir(parents=True, exist_ok=True)
    state = MODELS.build(SWIN).state_dict()
    torch.save(dict(state_dict=state), file)
    backbone = build({**SWIN, "init_cfg": init})
    backbone.init_weights()
    assert all(torch.equal(backbone.state_dict()[name], value) for name, value in state.items())
    with pytest.raises(FileNotFoundError, match=r"/nowhere/x\.pth"):
        build({**RESNET, "pretrained": "/nowhere/x.pth"}).init_weights()


# ---- Adapters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tune", "adapter"),
    [("lora", dict(rank=2)), ("soma", dict(rank=2, start_block=1))],
)
def test_a_merged_backbone_is_a_plain_one_with_what_was_learnt(tune, adapter):
    backbone = stir(build(SWIN, tune=tune, adapter=adapter)).eval()
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.2)
    before = backbone(images(), domains())
    backbone.merge_adapters()
    for merged, learnt in zip(backbone(images(), domains()), before, strict=True):
        torch.testing.assert_close(merged, learnt, rtol=1e-3, atol=1e-3)
    assert set(backbone.state_dict()) == set(build(SWIN).state_dict())


def test_rein_cannot_be_merged():
    with pytest.raises(ValueError, match="Rein refines what blocks put out and cannot be merged"):
        build(SWIN, tune="rein", adapter=dict(token_length=4, rank=2)).merge_adapters()


@pytest.mark.parametrize(
    ("tune", "adapter"),
    [("rein", dict(token_length=4, rank=2)), ("soma", dict(rank=2, start_block=0))],
)
def test_domain_adaptive_norms_compose_with_adapters(tune, adapter):
    plain = build(SWIN, tune=tune, adapter=adapter, injection="none").eval()
    backbone = build(SWIN, tune=tune, adapter=adapter).eval()
    backbone.load_state_dict(plain.state_dict(), strict=False)
    for ours, theirs in zip(backbone(images(), domains()), plain(images()), strict=True):
        assert torch.equal(ours, theirs)  # nothing of the domain at the start
    stir(backbone)
    one, other = backbone(images(), domains())[3], backbone(images(), domains().flip(0))[3]
    assert not torch.allclose(one, other)
    one.sum().backward()
    trained = {n for n, p in backbone.named_parameters() if p.requires_grad}
    assert any(n.startswith("domain.") for n in trained)
    assert {n for n, p in backbone.named_parameters() if p.grad is not None} <= trained
