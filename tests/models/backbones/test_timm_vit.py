"""TimmViT against timm's own blocks, and against files in the layouts that authors publish."""

import copy

import numpy as np
import pytest
import timm
import torch
from mmseg.registry import MODELS
from timm.layers import resample_abs_pos_embed, resample_abs_pos_embed_nhwc
from torch.nn import functional

from mmseg_domino.models.backbones import TimmViT

WIDTH, DEPTH = 32, 4
SMALL = dict(embed_dim=WIDTH, depth=DEPTH, num_heads=2)
#: One model of each family that the ready configs use, and what makes it small.
MODEL_OPTIONS = {
    "vit_large_patch14_dinov2.lvd142m": dict(img_size=56),
    "vit_large_patch14_reg4_dinov2.lvd142m": dict(img_size=56),
    "vit_large_patch16_dinov3.lvd1689m": {},
    "eva02_large_patch14_224.mim_m38m": dict(img_size=56),
    "samvit_large_patch16.sa1b": dict(
        img_size=64, window_size=3, global_attn_indexes=(1, 3), neck_chans=8
    ),
    "vit_large_patch16_224.mae": dict(img_size=64),
    "vit_large_patch16_siglip_384.webli": dict(img_size=64),
}
DINOV2, DINOV2_REG, DINOV3, EVA02, SAM, MAE, SIGLIP = MODEL_OPTIONS


def options(model):
    return {**SMALL, **MODEL_OPTIONS[model]}


def small(model, weights=None, **kwargs):
    torch.manual_seed(0)
    return TimmViT(model, weights, options=options(model), **kwargs)


def whole(model, **kwargs):
    """timm's own model, complete, with values that tell parameters apart."""
    vit = timm.create_model(model, pretrained=False, **{**options(model), **kwargs})
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return vit.eval()


def images(height=64, width=64):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(2))


@pytest.fixture(params=MODEL_OPTIONS, ids=lambda name: name.split(".")[0])
def model(request):
    return request.param


def block_outputs(vit, x):
    """What every block gives while timm runs the whole model, as ``(B, C, h, w)``."""
    outputs = []
    hooks = [
        block.register_forward_hook(lambda _m, _i, y: outputs.append(y)) for block in vit.blocks
    ]
    try:
        vit.forward_features(x)
    finally:
        for hook in hooks:
            hook.remove()
    patch = vit.patch_embed.patch_size[0]
    grid = [length // patch for length in x.shape[-2:]]
    maps = []
    for y in outputs:
        if y.ndim == 4:  # SAM's blocks keep the grid
            maps.append(y.permute(0, 3, 1, 2))
        else:
            tokens = y[:, y.shape[1] - grid[0] * grid[1] :]
            maps.append(tokens.transpose(1, 2).unflatten(2, grid))
    return maps


def test_features_are_those_of_the_models_own_blocks(model, device):
    vit = whole(model, num_classes=0).to(device)
    backbone = small(model, out_indices=(-2, 0)).to(device).eval()
    assert backbone.out_indices == (0, 2)
    assert len(backbone.vit.blocks) == 3
    own = backbone.vit.state_dict()
    backbone.vit.load_state_dict({k: v for k, v in vit.state_dict().items() if k in own})
    side = 4 * backbone.patch_size
    features = backbone(images(side, side).to(device))
    expected = block_outputs(vit, images(side, side).to(device))
    for ours, index in zip(features, backbone.out_indices, strict=True):
        assert ours.shape == (2, WIDTH, 4, 4)
        torch.testing.assert_close(ours, expected[index])


def test_any_size_is_taken_and_every_parameter_is_used(model, device):
    backbone = small(model).to(device)
    features = backbone(images(70, 99).to(device))
    h, w = (round(length / backbone.patch_size) for length in (70, 99))
    assert [tuple(f.shape) for f in features] == [(2, WIDTH, h, w)] * 4
    sum(f.square().mean() for f in features).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", [DINOV2, DINOV2_REG, MAE, SIGLIP, EVA02, DINOV3])
def test_position_embeddings_are_interpolated_as_timm_does_for_another_size(name, device):
    trained, patch = whole(name, num_classes=0).to(device), 14 if "patch14" in name else 16
    size = (3 * patch, 5 * patch)
    other = whole(name, num_classes=0, img_size=size).to(device)
    state = trained.state_dict()
    if "pos_embed" in state:  # DINOv3 has rotary ones only
        prefix = 0 if trained.no_embed_class else trained.num_prefix_tokens
        state["pos_embed"] = resample_abs_pos_embed(
            state["pos_embed"], (3, 5), num_prefix_tokens=prefix
        )
    other.load_state_dict(state)
    backbone = small(name).to(device).eval()
    own = backbone.vit.state_dict()
    backbone.vit.load_state_dict({k: v for k, v in trained.state_dict().items() if k in own})
    expected = block_outputs(other, images(*size).to(device))
    for ours, theirs in zip(backbone(images(*size).to(device)), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_segment_anything_for_another_size(device):
    """Its embeddings lie on a grid, and relative ones are interpolated along each axis."""
    trained, size = whole(SAM, num_classes=0).to(device), (48, 80)
    other, state = whole(SAM, num_classes=0, img_size=size).to(device), trained.state_dict()
    state["pos_embed"] = resample_abs_pos_embed_nhwc(state["pos_embed"], [3, 5])
    for name, value in other.state_dict().items():
        if "rel_pos" in name and value.shape != state[name].shape:
            along = state[name].T[None]
            state[name] = functional.interpolate(along, len(value), mode="linear")[0].T
    other.load_state_dict(state)
    backbone = small(SAM).to(device).eval()
    own = backbone.vit.state_dict()
    backbone.vit.load_state_dict({k: v for k, v in trained.state_dict().items() if k in own})
    expected = block_outputs(other, images(*size).to(device))
    for ours, theirs in zip(backbone(images(*size).to(device)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_recomputation_gives_the_same_gradients(model, device):
    gradients = []
    for with_cp in (False, True):
        backbone = small(model, with_cp=with_cp).to(device).train()
        sum(f.square().mean() for f in backbone(images().to(device))).backward()
        gradients.append([p.grad for p in backbone.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_autocast_stays_close(model, device):
    backbone = small(model).to(device).eval()
    full = backbone(images().to(device))
    with torch.autocast(device.type, torch.bfloat16):
        half = backbone(images().to(device))
    for level, other in zip(full, half, strict=True):
        assert (level - other).abs().mean() < 0.05 * level.abs().mean()


# ---- Layouts in which weights are published: {name of the file's entry: timm's own name} ----


def as_timm(vit, **_):
    return dict(vit.state_dict())


def as_dinov2(vit, **_):
    """facebookresearch/dinov2: register tokens by another name, and the mask token of training."""
    state = {k.replace("reg_token", "register_tokens"): v for k, v in vit.state_dict().items()}
    if "register_tokens" in state:
        # The class token has a place of its own there, which timm adds to the token.
        place = torch.zeros(1, 1, WIDTH)
        state["pos_embed"] = torch.cat([place, state["pos_embed"]], dim=1)
    return {**state, "mask_token": torch.zeros(1, WIDTH)}


def as_dinov3(vit, **_):
    state = {}
    for name, value in vit.state_dict().items():
        name = name.replace("reg_token", "storage_tokens")
        name = name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
        state[name] = value
    for i in range(DEPTH):
        state[f"blocks.{i}.attn.qkv.bias"] = torch.zeros(3 * WIDTH)
        state[f"blocks.{i}.attn.qkv.bias_mask"] = torch.ones(3 * WIDTH)
    periods = torch.ones(WIDTH // 2 // 4)
    return {**state, "mask_token": torch.zeros(1, WIDTH), "rope_embed.periods": periods}


def as_eva02(vit, **_):
    """baaivision/EVA: the network under `module`, biases of q and v apart, rotary tables kept."""
    renamed = {
        "mlp.norm": "mlp.ffn_ln", "mlp.fc1_g": "mlp.w1", "mlp.fc1_x": "mlp.w2", "mlp.fc2": "mlp.w3",
        "attn.norm": "attn.inner_attn_ln", "q_proj.bias": "q_bias", "v_proj.bias": "v_bias",
    }  # fmt: skip
    state = {}
    for name, value in vit.state_dict().items():
        for new, old in renamed.items():
            name = name.replace(new, old)
        state[name.replace("fc_norm", "norm")] = value
    for prefix in ("", *(f"blocks.{i}.attn." for i in range(DEPTH))):
        state[f"{prefix}rope.freqs_cos"] = state[f"{prefix}rope.freqs_sin"] = torch.zeros(16, 16)
    state["mask_token"] = torch.zeros(1, 1, WIDTH)
    state["lm_head.weight"], state["lm_head.bias"] = torch.zeros(7, WIDTH), torch.zeros(7)
    return {"module": state}


def as_sam(vit, **_):
    """facebookresearch/segment-anything: the image encoder among the parts of the whole model."""
    state = {
        f"image_encoder.{k.replace('mlp.fc', 'mlp.lin')}": v for k, v in vit.state_dict().items()
    }
    state["prompt_encoder.no_mask_embed.weight"] = torch.zeros(1, 8)
    state["mask_decoder.iou_token.weight"] = torch.zeros(1, 8)
    return state


def as_mae(vit, **_):
    return {"model": dict(vit.state_dict())}


def as_open_clip(vit, **_):
    """SigLIP as open_clip writes it, with the text tower beside it."""
    state = {f"visual.trunk.{k}": v for k, v in vit.state_dict().items()}
    return {**state, "text.positional_embedding": torch.zeros(4, 8), "logit_scale": torch.ones(())}


def as_big_vision(vit, **_):
    """google-research/big_vision: SigLIP's image tower in JAX's names and orders of axes."""
    heads, head_dim = SMALL["num_heads"], WIDTH // SMALL["num_heads"]
    state = {k: v.numpy() for k, v in vit.state_dict().items()}
    file = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
        "MAPHead_0/probe": state["attn_pool.latent"],
    }

    def attention(name, prefix, parts):
        for part, (weight, bias) in parts.items():
            file[f"{name}/{part}/kernel"] = weight.T.reshape(WIDTH, heads, head_dim)
            file[f"{name}/{part}/bias"] = bias.reshape(heads, head_dim)
        out = state[f"{prefix}.proj.weight"]
        file[f"{name}/out/kernel"] = out.T.reshape(heads, head_dim, WIDTH)
        file[f"{name}/out/bias"] = state[f"{prefix}.proj.bias"]

    def norm_and_mlp(name, prefix, mlp):
        for part, own in prefix.items():
            file[f"{name}/{part}/scale"] = state[f"{own}.weight"]
            file[f"{name}/{part}/bias"] = state[f"{own}.bias"]
        for i in range(2):
            file[f"{name}/MlpBlock_0/Dense_{i}/kernel"] = state[f"{mlp}.fc{i + 1}.weight"].T
            file[f"{name}/MlpBlock_0/Dense_{i}/bias"] = state[f"{mlp}.fc{i + 1}.bias"]

    def split(prefix, names):
        weights = np.split(state[f"{prefix}.weight"], len(names))
        biases = np.split(state[f"{prefix}.bias"], len(names))
        return dict(zip(names, zip(weights, biases, strict=True), strict=True))

    for i in range(DEPTH):
        own, name = f"blocks.{i}", f"Transformer/encoderblock_{i}"
        attention(
            f"{name}/MultiHeadDotProductAttention_0",
            f"{own}.attn",
            split(f"{own}.attn.qkv", ("query", "key", "value")),
        )
        norms = {"LayerNorm_0": f"{own}.norm1", "LayerNorm_1": f"{own}.norm2"}
        norm_and_mlp(name, norms, f"{own}.mlp")
    attention(
        "MAPHead_0/MultiHeadDotProductAttention_0",
        "attn_pool",
        {**split("attn_pool.q", ("query",)), **split("attn_pool.kv", ("key", "value"))},
    )
    norm_and_mlp("MAPHead_0", {"LayerNorm_0": "attn_pool.norm"}, "attn_pool.mlp")
    return {f"params/img/{k}": v for k, v in file.items()}


LAYOUTS = [
    *((name, as_timm) for name in MODEL_OPTIONS),
    (DINOV2, as_dinov2),
    (DINOV2_REG, as_dinov2),
    (DINOV3, as_dinov3),
    (EVA02, as_eva02),
    (SAM, as_sam),
    (MAE, as_mae),
    (SIGLIP, as_open_clip),
    (SIGLIP, as_big_vision),
]


def write(folder, state):
    if isinstance(next(iter(state.values())), np.ndarray):
        np.savez(folder / "weights.npz", **state)
        return folder / "weights.npz"
    torch.save(state, folder / "weights.pth")
    return folder / "weights.pth"


@pytest.mark.parametrize(
    ("model", "layout"), LAYOUTS, ids=[f"{n.split('.')[0]}-{f.__name__}" for n, f in LAYOUTS]
)
def test_published_layouts_are_read(model, layout, tmp_path):
    vit = whole(model)
    path = write(tmp_path, layout(vit))
    backbone = small(model, weights=str(path))
    before = backbone.vit.patch_embed.proj.weight.clone()
    backbone.init_weights()
    assert not torch.equal(before, backbone.vit.patch_embed.proj.weight)
    published = vit.state_dict()
    for name, value in backbone.vit.state_dict().items():
        assert torch.equal(value, published[name]), name
    again = backbone.vit.patch_embed.proj.weight.clone()
    # What a segmentor does with all of its parts must not undo it.
    MODELS.build(dict(type="DominoBackbone", backbone=dict(
        type="TimmViT", model=model, weights=str(path), options=options(model)
    ), domain_channels=6)).init_weights()  # fmt: skip
    assert torch.equal(again, backbone.vit.patch_embed.proj.weight)


def test_a_larger_published_grid_is_resized(tmp_path):
    vit = whole(MAE, img_size=128)
    backbone = small(MAE, weights=str(write(tmp_path, as_mae(vit))))
    backbone.init_weights()
    expected = resample_abs_pos_embed(vit.pos_embed, (4, 4), num_prefix_tokens=1)
    torch.testing.assert_close(backbone.vit.pos_embed.data, expected.data)


@pytest.mark.parametrize("tune", ["full", "frozen", "lora"])
@pytest.mark.parametrize("injection", ["subtract", "none"])
def test_weights_are_read_under_the_wrapper(model, tune, injection, tmp_path, device):
    vit = whole(model)
    config = dict(
        type="TimmViT", model=model, weights=str(write(tmp_path, as_timm(vit))),
        options=options(model),
    )  # fmt: skip
    backbone = MODELS.build(
        dict(type="DominoBackbone", backbone=config, domain_channels=6, tune=tune,
             injection=injection)
    )  # fmt: skip
    backbone.init_weights()
    state, published = backbone.state_dict(), vit.state_dict()
    plain = small(model)
    for name in plain.state_dict():
        assert torch.equal(state[name], published[name.removeprefix("vit.")]), name
    plain.load_state_dict({n: state[n] for n in plain.state_dict()})
    x = images().to(device)
    domain = torch.randn(2, 6, generator=torch.Generator().manual_seed(3)).to(device)
    backbone, plain = backbone.to(device).eval(), plain.to(device).eval()
    for ours, theirs in zip(backbone(x, domain), plain(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    trained = {n for n, p in backbone.named_parameters() if p.requires_grad}
    names = [n for n, _ in backbone.named_parameters()]
    new = {n for n in names if n.startswith("domain.") or ".lora_" in n}
    assert trained == (set(dict(backbone.named_parameters())) if tune == "full" else new)
    if trained:
        sum(f.square().mean() for f in backbone.train()(x, domain)).backward()
    assert {n for n, p in backbone.named_parameters() if p.grad is not None} == trained


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match=r"no model 'vit_huge_patch14_dinov2'; near it are .*vit_"):
        TimmViT("vit_huge_patch14_dinov2")
    for name in ("resnet18", "swin_tiny_patch4_window7_224"):
        with pytest.raises(ValueError, match=rf"{name} is no plain vision transformer"):
            TimmViT(name)
    with pytest.raises(ValueError, match=r"out_indices \[4\] do not exist: vit_large.* 0 to 3"):
        small(MAE, out_indices=(1, 4))
    for indices in ((), (1, -3)):
        with pytest.raises(ValueError, match=r"each once; got \["):
            small(MAE, out_indices=indices)
    with pytest.raises(ValueError, match="not both"):
        small(MAE, weights="timm", init_cfg=dict(type="Pretrained", checkpoint="x.pth"))
    with pytest.raises(FileNotFoundError, match=r"weights='/nowhere/x\.pth' of .* is no file"):
        small(MAE, weights="/nowhere/x.pth").init_weights()
    with pytest.raises(ValueError, match=r"\(nobody\) .* known for: vit_large_patch16_224\.augreg"):
        TimmViT("vit_large_patch16_224.nobody")
    with pytest.raises(ValueError, match=r"no weights for 'vit_large_patch14_224'\. .* none"):
        TimmViT("vit_large_patch14_224", options=SMALL).init_weights()


@pytest.mark.parametrize("change", ["lacks", "shape", "other"])
def test_a_file_that_does_not_fit_is_refused(change, tmp_path):
    state = copy.copy(as_timm(whole(MAE)))
    if change == "lacks":
        del state["blocks.1.attn.qkv.weight"]
    elif change == "shape":
        state["blocks.1.mlp.fc1.bias"] = torch.zeros(3)
    else:
        state = {"conv1.weight": torch.zeros(3)}
    path = write(tmp_path, state)
    backbone = small(MAE, weights=str(path))
    with pytest.raises(ValueError, match=r"weights\.pth does not fit vit_large_patch16_224\.mae"):
        backbone.init_weights()


def test_offline_says_how_to_get_the_weights(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    backbone = small(DINOV2, weights="timm")
    with pytest.raises(FileNotFoundError, match="are not in the cache") as caught:
        backbone.init_weights()
    command = "HF_HUB_OFFLINE=0 python -c \"import timm; timm.create_model('vit_large_patch14_dino"
    assert command in str(caught.value)


def test_published_weights_come_by_timms_own_loader(monkeypatch):
    vit, asked = whole(DINOV2), []

    def load(name, pretrained=False, **kwargs):
        asked.append((name, pretrained))
        return vit

    backbone = small(DINOV2, weights="timm")
    monkeypatch.setattr(timm, "create_model", load)
    backbone.init_weights()
    assert asked == [(DINOV2, True)]
    assert torch.equal(backbone.vit.pos_embed, vit.pos_embed)


def test_it_compiles(device):
    backbone = small(DINOV2, out_indices=(0,)).to(device).eval()
    compiled = torch.compile(backbone, backend="aot_eager")
    for ours, theirs in zip(
        compiled(images().to(device)), backbone(images().to(device)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "neck",
    [
        dict(type="Feature2Pyramid", embed_dim=WIDTH, rescales=[4, 2, 1, 0.5]),
        dict(type="MultiLevelNeck", in_channels=[WIDTH] * 4, out_channels=WIDTH,
             scales=[4, 2, 1, 0.5]),
    ],
    ids=lambda neck: neck["type"],
)  # fmt: skip
def test_a_stock_neck_makes_a_pyramid(neck, device):
    levels = MODELS.build(neck).to(device)(small(MAE).to(device)(images(64, 96).to(device)))
    assert [tuple(f.shape[1:]) for f in levels] == [
        (WIDTH, 16, 24), (WIDTH, 8, 12), (WIDTH, 4, 6), (WIDTH, 2, 3)
    ]  # fmt: skip


def test_stochastic_depth_is_handed_on(device):
    backbone = small(MAE, drop_path_rate=0.5).to(device).train()
    torch.manual_seed(0)
    assert not torch.equal(backbone(images().to(device))[-1], backbone(images().to(device))[-1])


@pytest.mark.parametrize(
    ("tune", "adapter"),
    [("rein", dict(token_length=4, rank=2)), ("soma", dict(rank=2, start_block=2))],
)
def test_rein_and_soma_start_close_to_it_and_reach_every_layer(model, tune, adapter, tmp_path):
    vit = whole(model)
    config = dict(
        type="TimmViT", model=model, weights=str(write(tmp_path, as_timm(vit))),
        options=options(model),
    )  # fmt: skip
    backbone = MODELS.build(
        dict(type="DominoBackbone", backbone=config, domain_channels=6, tune=tune,
             adapter=adapter, injection="none")
    )  # fmt: skip
    backbone.init_weights()
    plain = small(model, config["weights"])
    plain.init_weights()
    for ours, theirs in zip(backbone.eval()(images()), plain.eval()(images()), strict=True):
        assert (ours - theirs).abs().max() < 0.05 * theirs.abs().max()
    sum(f.square().mean() for f in backbone.train()(images())).backward()
    trained = {n: p for n, p in backbone.named_parameters() if p.requires_grad}
    assert {n for n, p in backbone.named_parameters() if p.grad is not None} == set(trained)
    # also where a layer's forward is passed by, as EVA does with query, key and value in one
    assert all(p.grad.any() for n, p in trained.items() if not n.endswith("bias"))
