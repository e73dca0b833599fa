"""What is trained in each mode, and checkpoints without what is not."""

import pytest
import torch
from mmengine.runner import load_checkpoint, save_checkpoint
from torch import nn

from mmseg_domino.models.adapters.frozen_state import FINGERPRINT
from mmseg_domino.models.adapters.tuning import apply_tuning

from ..diffusion.vpd_models import make_vpd, randomise, write_classes, write_folder

D, N = 12, 5
SMALL = {"rein": dict(token_length=4, rank=2), "soma": dict(rank=2, start_block=8)}
CONTEXT = {"context.gamma"} | {
    f"context.text_adapter.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    root = tmp_path_factory.mktemp("vpd")
    torch.manual_seed(4)
    classes = write_classes(root / "classes.safetensors", torch.randn(N, D) * 5)
    return dict(weights=str(write_folder(root / "model")), embeddings=classes)


def build(weights, **kwargs):
    model = make_vpd(**weights, **{"injection": "none", **kwargs})
    model.read_weights()
    return model


def trained(model):
    return {n for n, p in model.named_parameters() if p.requires_grad}


def step(model, seed=0):
    """One large step of every trained parameter on an image, so that each one changes."""
    torch.manual_seed(seed)
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # the second factor of LoRA starts at zero, so that the first waits
        optimizer.zero_grad()
        features = model(torch.rand(1, 3, 64, 128).to(model.unet.device) * 2 - 1)
        sum((f * torch.randn_like(f)).mean() for f in features).backward()
        optimizer.step()


def test_full_trains_the_unet_and_the_adapter(weights):
    model = build(weights)
    unet = {f"unet.{n}" for n, _ in model.unet.named_parameters()}
    assert trained(model) == unet | CONTEXT


def test_frozen_trains_the_adapter_through_the_unet(weights, device):
    model = build(weights, tune="frozen").to(device)
    assert trained(model) == CONTEXT
    before = {n: p.clone() for n, p in model.named_parameters()}
    step(model)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == CONTEXT


def test_norms_trains_what_normalisation_layers_hold(weights):
    model = build(weights, tune="norms")
    norms = {
        f"unet.{name}.{kind}"
        for name, module in model.unet.named_modules()
        if isinstance(module, nn.GroupNorm | nn.LayerNorm)
        for kind in ("weight", "bias")
    }
    assert trained(model) == norms | CONTEXT
    # 22 residual layers with two, 16 transformers with one before and three inside
    assert len(norms) == 2 * (22 * 2 + 16 * 4)


@pytest.mark.parametrize(
    ("lora", "count"),
    [(None, 16 * 2 * 4), (dict(targets=r"attn2\.(to_k|to_v)$", rank=3), 16 * 2)],
)
def test_lora_trains_adapters_beside_attention_projections(lora, count, weights, device):
    plain = build(weights).to(device)
    model = build(weights, tune="lora", adapter=lora).to(device)
    adapters = trained(model) - CONTEXT
    assert len(adapters) == 2 * count  # two factors each
    assert all(".attn" in n and ".lora_" in n for n in adapters)
    rank = (lora or {}).get("rank", 16)
    shapes = [p.shape for n, p in model.named_parameters() if ".lora_A." in n]
    assert {shape[0] for shape in shapes} == {rank}
    # Adapters start as nothing, and the names of the weights stay those of the plain UNet.
    with torch.no_grad():
        model.context.load_state_dict(plain.context.state_dict())
        x = torch.rand(1, 3, 64, 64, device=device)
        for ours, reference in zip(model(x), plain(x), strict=True):
            torch.testing.assert_close(ours, reference)
    assert set(plain.state_dict()) <= set(model.state_dict())
    assert not model.load_state_dict(plain.state_dict(), strict=False).unexpected_keys
    before = {n: p.clone() for n, p in model.named_parameters()}
    step(model)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    # The deepest layer's adapters move by less than float32 can add to their start.
    assert changed <= adapters | CONTEXT
    moved = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == adapters | CONTEXT


def test_lora_is_the_product_of_its_factors(weights, device):
    """W x + alpha / rank * B A x, on one projection."""
    model = build(weights, tune="lora", adapter=dict(rank=2, alpha=6)).to(device)
    layer = model.unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_q
    randomise(layer)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    x = torch.randn(3, 16, device=device)
    with torch.no_grad():
        expected = x @ layer.base_layer.weight.T + 3 * x @ a.T @ b.T
        torch.testing.assert_close(layer(x), expected)


def test_lora_that_fits_no_layer_is_refused(weights):
    with pytest.raises(ValueError, match="the adapter's targets 'qkv' fit none of the"):
        build(weights, tune="lora", adapter=dict(targets="qkv"))
    with pytest.raises(ValueError, match=r"unknown options \['r'\] in `adapter`"):
        build(weights, tune="lora", adapter=dict(r=2))


def test_modes_that_do_not_exist_are_refused():
    with pytest.raises(
        ValueError, match="unknown tune 'adapter'; valid ones are full, frozen, norms, lora"
    ):
        apply_tuning(nn.Linear(1, 1), "adapter")


# ---- Checkpoints --------------------------------------------------------------------------------


def outputs(model, seed=3):
    model.eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(torch.rand(1, 3, 64, 64).to(model.unet.device) * 2 - 1)


@pytest.mark.parametrize(
    ("tune", "inside"),
    [
        ("full", True), ("frozen", False), ("lora", False), ("lora", True), ("norms", True),
        ("rein", False), ("soma", True),
    ],
)  # fmt: skip
def test_a_checkpoint_without_frozen_weights_restores_the_whole(
    tune, inside, weights, tmp_path, device
):
    def make(**kwargs):
        backbone = build(weights, tune=tune, adapter=SMALL.get(tune), **kwargs)
        backbone.to(device)
        return (nn.ModuleDict({"backbone": backbone}), backbone) if inside else (backbone, backbone)

    whole, backbone = make(save_frozen=False)
    step(backbone)
    path = str(tmp_path / "iter_1.pth")
    save_checkpoint({"state_dict": whole.state_dict(), "meta": {}}, path)
    prefix = "backbone." if inside else ""
    saved = set(torch.load(path, weights_only=True)["state_dict"])
    buffers = {"context.class_embeddings", FINGERPRINT}
    assert saved == {prefix + n for n in trained(backbone) | buffers}

    other, other_backbone = make(save_frozen=True)
    load_checkpoint(other, path, strict=True)
    for ours, reference in zip(outputs(other_backbone), outputs(backbone), strict=True):
        assert torch.equal(ours, reference)
    # And through PyTorch's own loading.
    again, again_backbone = make()
    again.load_state_dict(torch.load(path, weights_only=True)["state_dict"], strict=True)
    assert torch.equal(outputs(again_backbone)[3], outputs(backbone)[3])


def test_such_a_checkpoint_over_other_weights_is_refused(weights, tmp_path):
    state = build(weights, tune="frozen", save_frozen=False).state_dict()
    torch.manual_seed(9)
    folder = write_folder(tmp_path / "other", unet=dict(attention_head_dim=4))
    other = make_vpd(str(folder), embeddings=weights["embeddings"], injection="none", tune="frozen")
    other.read_weights()
    randomise(other.unet)
    with pytest.raises(ValueError, match="it was trained over others than this one was built from"):
        other.load_state_dict(state)
    # Of another mode, too: what is missing there would not be the same.
    with pytest.raises(ValueError, match="Build it from the same `weights`, `vae` and `tune`"):
        build(weights, tune="full").load_state_dict(state)


def test_whole_checkpoints_are_the_default(weights):
    names = set(build(weights, tune="frozen").state_dict())
    assert FINGERPRINT not in names
    assert {n.split(".")[0] for n in names} == {"unet", "vae", "context"}
