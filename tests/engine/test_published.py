"""Published checkpoints, in their authors' key layouts, become checkpoints of a config."""

import json

import pytest
import torch
from click.testing import CliRunner
from mmengine.config import Config
from mmseg.registry import MODELS
from safetensors.torch import load_file
from torch.nn import functional as F

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino.cli.main import main
from mmseg_domino.engine.published import convert_checkpoint

from ..models.adapters.originals import DINOV2, features, head_config, random_vit, write_set

pytest.importorskip("mmdet")
CLASSES, QUERIES, WIDTH, RANK = 5, 7, 16, 3
ADAPTERS = {
    "rein": dict(token_length=QUERIES, rank=RANK, link_token_to_query=True, query_dims=WIDTH),
    "soma": dict(rank=RANK, start_block=1),
}
VIT = dict(
    img_size=64, patch_size=16, embed_dim=24, depth=4, num_heads=2, mlp_ratio=4
)  # fmt: skip
EVA = dict(img_size=28, embed_dim=24, depth=2, num_heads=2)


def config(tune, vit=None, **changes):
    head, _ = head_config(WIDTH, CLASSES, QUERIES, 24)
    head.type = "ReinMask2FormerHead" if tune == "rein" else head.type
    backbone = dict(
        type="TimmViT", model="vit_large_patch14_dinov2", weights=None, out_indices=(0, 1, 2, 3),
        scales=(4, 2, 1, 0.5), resampling="bicubic", options=dict(VIT),
    )  # fmt: skip
    backbone.update(vit or {})
    model = dict(
        type="DominoEncoderDecoder",
        backbone=dict(type="DominoBackbone", backbone=backbone, domain_channels=1, tune=tune,
                      injection="none", adapter=ADAPTERS.get(tune), **changes),
        decode_head=head, train_cfg=dict(), test_cfg=dict(mode="whole"),
    )  # fmt: skip
    return Config(dict(default_scope="mmseg", model=model))


def loaded(cfg, state):
    model = MODELS.build(cfg.model)
    model.load_state_dict(state)
    return model.eval()


def published(tmp_path, kind):
    """The whole published state of a model, and what it computes."""
    weights = write_set(tmp_path / kind, kind, classes=CLASSES, count=QUERIES, width=WIDTH,
                        rank=RANK)  # fmt: skip
    return weights, load_file(tmp_path / f"{kind}.activations.safetensors")


def save(path, state, **more):
    torch.save({"state_dict": state, "meta": {"epoch": 1}, **more}, path)
    return path


@torch.no_grad()
def check(model, stored):
    found = model.extract_feat(stored["images"])
    for i in range(4):
        torch.testing.assert_close(found[i], stored[f"feature{i}"], rtol=1e-4, atol=1e-4)
    classes, masks = model.decode_head(found, [None, None])
    torch.testing.assert_close(classes[-1], stored["class_logits"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(masks[-1], stored["mask_logits"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["rein", "soma"])
def test_a_whole_checkpoint_computes_the_same(kind, tmp_path):
    weights, stored = published(tmp_path, kind)
    state, report = convert_checkpoint(config(kind), save(tmp_path / "x.pth", weights))
    check(loaded(config(kind), state), stored)
    prefix = "backbone.model." if kind == "soma" else "backbone."
    unread = {prefix + name for name in ("mask_token", "norm.weight", "norm.bias")}
    assert set(report["not_used"]) == unread
    assert report["read"] == len(weights)
    assert report["from_backbone"] is None


def dinov2_file(tmp_path):
    """DINOv2's backbone as it is published: patches of 14 pixels, 37 x 37 positions."""
    state = random_vit(DINOV2, patch=14, side=37, seed=5)
    torch.save(state, tmp_path / "dinov2.pth")
    return tmp_path / "dinov2.pth", state


def at_16(state):
    """Its kernel at 16 pixels and its positions at 4 x 4, as the authors' converters say."""
    state = dict(state)
    kernel, rows = state["patch_embed.proj.weight"], state["pos_embed"]
    state["patch_embed.proj.weight"] = F.interpolate(kernel, (16, 16), mode="bicubic")
    grid = rows[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (4, 4), mode="bicubic").permute(0, 2, 3, 1).reshape(1, 16, -1)
    state["pos_embed"] = torch.cat([rows[:, :1], grid], dim=1)
    return state


def test_rein_with_dinov2_is_resampled_and_refined(tmp_path):
    weights, stored = published(tmp_path, "rein")
    trained = {k: v for k, v in weights.items() if "reins." in k or k.startswith("decode_head.")}
    file, pretrained = dinov2_file(tmp_path)
    state, report = convert_checkpoint(
        config("rein"), save(tmp_path / "head.pth", trained), backbone=file
    )
    assert report["not_used"] == []
    assert str(file) in report["from_backbone"]
    reins = {k.removeprefix("backbone."): v for k, v in trained.items() if "reins." in k}
    expected = features({**at_16(pretrained), **reins}, DINOV2, stored["images"])
    with torch.no_grad():
        found = loaded(config("rein"), state).extract_feat(stored["images"])
    for ours, theirs in zip(found[:4], expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def soma_parts(weights):
    """What SoMA's authors put into 'adapter and head': also every bias of the backbone."""
    return {
        k: v for k, v in weights.items()
        if k.startswith("decode_head.") or "lora" in k or k.endswith("bias") or "mask_token" in k
    }  # fmt: skip


@pytest.mark.parametrize("merge", [False, True])
def test_soma_with_dinov2_keeps_its_major_components(merge, tmp_path):
    weights, stored = published(tmp_path, "soma")
    trained = soma_parts(weights)
    file, pretrained = dinov2_file(tmp_path)
    state, report = convert_checkpoint(
        config("soma"), save(tmp_path / "head.pth", trained), backbone=file, merge=merge
    )
    assert "backbone.model.mask_token" in report["not_used"]
    residual = at_16(pretrained)
    for i in range(4):
        for kind in ("weight", "bias"):
            for part, value in zip("qkv", residual.pop(f"blocks.{i}.attn.qkv.{kind}").chunk(3),
                                   strict=True):  # fmt: skip
                residual[f"blocks.{i}.attn.{part}.{kind}"] = value
    for name in [k.removesuffix(".lora_A.weight") for k in weights if k.endswith("lora_A.weight")]:
        name = name.removeprefix("backbone.model.")
        u, s, vh = torch.linalg.svd(residual[f"{name}.weight"].double(), full_matrices=False)
        minor = u[:, -RANK:] @ torch.diag(s[-RANK:]) @ vh[-RANK:]
        residual[f"{name}.weight"] = residual[f"{name}.weight"] - minor.float()
    own = {k.removeprefix("backbone.model."): v for k, v in trained.items() if "backbone" in k}
    expected = features({**residual, **own}, DINOV2, stored["images"])
    cfg = config("full" if merge else "soma")
    with torch.no_grad():
        found = loaded(cfg, state).extract_feat(stored["images"])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_of_averaged_and_plain_weights_it_says_which_it_takes(tmp_path):
    weights, stored = published(tmp_path, "soma")
    plain = {f"module.{k}": v + 1 for k, v in weights.items()} | {"steps": torch.tensor(9)}
    path = save(tmp_path / "both.pth", weights, ema_state_dict=plain)
    state, report = convert_checkpoint(config("soma"), path)
    check(loaded(config("soma"), state), stored)
    assert report["taken"].startswith("state_dict (the averaged weights")
    assert "not ema_state_dict (the weights of the last iteration" in report["taken"]
    other, report = convert_checkpoint(config("soma"), path, take="ema_state_dict")
    name = "decode_head.cls_embed.bias"
    torch.testing.assert_close(other[name], state[name] + 1)
    assert report["taken"].startswith("ema_state_dict (")
    with pytest.raises(ValueError, match="has no ema_state_dict; it has state_dict"):
        convert_checkpoint(config("soma"), save(tmp_path / "a.pth", weights), take="ema_state_dict")


def test_what_does_not_fit_is_refused(tmp_path):
    weights, _ = published(tmp_path, "soma")
    path = save(tmp_path / "soma.pth", weights)

    def refused(match, cfg, path=path, **kwargs):
        with pytest.raises(ValueError, match=match):
            convert_checkpoint(cfg, path, **kwargs)

    refused("is of soma, and the config trains with tune='rein'", config("rein"))
    refused("another width", config("soma", dict(options=dict(VIT, embed_dim=32))))
    refused("another patch size", config("soma", dict(options=dict(VIT, patch_size=8))))
    refused("another number of patches", config("soma", dict(options=dict(VIT, img_size=96))))
    cfg = config("soma")
    cfg.model.backbone.adapter.rank = 2
    refused("another rank", cfg)
    head = save(tmp_path / "head.pth", soma_parts(weights))
    refused("holds adapters and head without the backbone", config("soma"), head)
    refused("holds its backbone; leave", config("soma"), backbone=tmp_path / "dinov2.pth")
    with pytest.raises(FileNotFoundError, match="is no file"):
        convert_checkpoint(config("soma"), head, backbone=tmp_path / "absent.pth")
    cut = {k: v for k, v in weights.items() if "blocks.3.mlp.fc2" not in k}
    refused("lacks .* weights of the model, the first backbone.vit.blocks.3.mlp.fc2",
            config("soma"), save(tmp_path / "cut.pth", cut))  # fmt: skip
    other = save(tmp_path / "other.pth", {"backbone.layer1.weight": torch.ones(1)})
    refused("is no published checkpoint of Rein", config("soma"), other)


def mmpretrain_layout(state, key_bias):
    """timm's EVA-02 in the names of VLTSeg's reimplementation."""
    found = {}
    for key, value in state.items():
        name = key.removeprefix("backbone.vit.")
        if name == key:
            found[key] = value
            continue
        for ours, original in (("patch_embed.proj.", "patch_embed.projection."),
                               (".attn.norm.", ".attn.inner_attn_norm."),
                               (".mlp.fc2.", ".mlp.w3."), ("blocks.", "layers.")):  # fmt: skip
            name = name.replace(ours, original)
        found[f"backbone.{name}"] = value
    for i in range(EVA["depth"]):
        layer = f"backbone.layers.{i}"
        for kind in ("weight", "bias"):
            parts = [found.pop(f"{layer}.attn.{p}_proj.{kind}", key_bias) for p in "qkv"]
            found[f"{layer}.attn.qkv.{kind}"] = torch.cat(parts)
            mlp = [found.pop(f"{layer}.mlp.{p}.{kind}") for p in ("fc1_g", "fc1_x")]
            found[f"{layer}.mlp.w12.{kind}"] = torch.cat(mlp)
    return found | {"backbone.ln1.weight": torch.ones(24), "backbone.rope.freqs_cos": torch.ones(2)}


def test_vltseg_is_told_by_its_layers_and_a_bias_of_keys_is_kept(tmp_path):
    vit = dict(model="eva02_large_patch14_clip_224", options=EVA, out_indices=(0, 1),
               scales=(2, 1), resampling="timm")  # fmt: skip
    cfg = config("full", vit)
    cfg.model.decode_head = dict(type="FCNHead", in_channels=24, channels=8, num_classes=3,
                                 num_convs=1, in_index=1)  # fmt: skip
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    image = torch.randn(1, 3, 28, 56)
    original = mmpretrain_layout(model.state_dict(), torch.zeros(24))
    state, report = convert_checkpoint(cfg, save(tmp_path / "v.pth", original))
    assert report["kind"] == "vltseg"
    assert set(report["not_used"]) == {"backbone.ln1.weight", "backbone.rope.freqs_cos"}
    for ours, theirs in zip(
        loaded(cfg, state).extract_feat(image), model.extract_feat(image), strict=True
    ):
        assert torch.equal(ours, theirs)
    biased = save(tmp_path / "b.pth", mmpretrain_layout(model.state_dict(), torch.ones(24)))
    with pytest.raises(ValueError, match=r"k_proj.bias.*key_bias=True gives the keys a bias"):
        convert_checkpoint(cfg, biased)
    cfg.model.backbone.backbone.key_bias = True
    state, _ = convert_checkpoint(cfg, biased)
    assert not torch.equal(loaded(cfg, state).extract_feat(image)[1], model.extract_feat(image)[1])


def test_the_command_writes_the_checkpoint_and_its_report(tmp_path):
    weights, stored = published(tmp_path, "rein")
    path = save(tmp_path / "rein.pth", weights)
    config("rein").dump(tmp_path / "config.py")
    out = tmp_path / "out.safetensors"
    arguments = ["convert", str(path), str(out), "--config", str(tmp_path / "config.py")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert f"rein: {len(weights)} tensors read from state_dict" in result.output
    assert "3 keys not used:\n    backbone.mask_token" in result.output
    check(loaded(config("rein"), load_file(out)), stored)
    assert json.loads(out.with_suffix(".json").read_text())["kind"] == "rein"
    result = CliRunner().invoke(main, [*arguments[:2], str(tmp_path / "out.pth"), *arguments[3:]])
    assert result.exit_code == 2
    assert "must end in .safetensors" in result.output
