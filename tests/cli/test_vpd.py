"""``domino vpd`` and ``domino verify``, as a user runs them."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS
from safetensors.torch import load_file, save_file

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino.models.diffusion.architecture import resolve_architecture
from mmseg_domino.models.diffusion.class_embeddings import read_class_embeddings
from street_world.models import build_mini_models

from ..models.diffusion.original_layout import original_file, published_vpd
from ..models.diffusion.test_unet_features import watched
from ..models.diffusion.vpd_models import UNET, VAE, randomise, write_classes, write_folder

# ---- verify --------------------------------------------------------------------------------------

DESCRIPTION = {
    "unet": {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32,
        "attention_resolutions": [4, 2, 1], "num_res_blocks": 2, "channel_mult": [1, 1, 2, 2],
        "num_heads": 2, "use_spatial_transformer": True, "transformer_depth": 1,
        "context_dim": 12, "use_checkpoint": False, "legacy": False,
    },
    "vae": {
        "double_z": True, "z_channels": 4, "resolution": 64, "in_channels": 3, "out_ch": 3,
        "ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "attn_resolutions": [],
        "dropout": 0.0,
    },
    "num_classes": 5, "image_hw": [64, 128], "attention_maps": True, "max_attn_size": 8,
    "timestep": 3, "latent_scale": 0.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def stem(tmp_path_factory):
    """A set of files made by diffusers' modules: not square, other classes, timestep and scale."""
    architecture = resolve_architecture(DESCRIPTION)
    unet = UNet2DConditionModel(**architecture["unet"]).eval()
    vae = AutoencoderKL(**architecture["vae"]).eval()
    randomise(unet, 0)
    randomise(vae, 1)
    torch.manual_seed(2)
    adapter = torch.nn.Sequential(torch.nn.Linear(12, 12), torch.nn.GELU(), torch.nn.Linear(12, 12))
    tokens, gamma = torch.randn(5, 12) * 5, torch.rand(12)
    images = torch.rand(2, 3, 64, 128) * 2 - 1
    with torch.no_grad():
        latents = vae.encode(images).latent_dist.mode() * 0.5
        context = (tokens + gamma * adapter(tokens)).expand(2, -1, -1).contiguous()
        features, maps = watched(unet, latents, context, timestep=3)
    # 8 x 16 positions are more than 8 x 8, 4 x 8 are not.
    for level, (h, w) in ((1, (4, 8)), (2, (2, 4))):
        attention = maps[h * w].transpose(1, 2).unflatten(2, (h, w))
        features[level] = torch.cat([features[level], attention], dim=1)
    path = tmp_path_factory.mktemp("set") / "other"
    path.with_suffix(".json").write_text(json.dumps(DESCRIPTION))
    save_file(
        {k: v.contiguous() for k, v in original_file(unet, vae).items()},
        path.with_suffix(".weights.safetensors"),
    )
    activations = {
        "images": images, "latents": latents, "context": context, "gamma": gamma,
        "class_embeddings": tokens,
        **{f"text_adapter.fc.{k}": v for k, v in adapter.state_dict().items()},
        **{f"features.{i}": f for i, f in enumerate(features)},
    }  # fmt: skip
    save_file(
        {k: v.contiguous() for k, v in activations.items()},
        path.with_suffix(".activations.safetensors"),
    )
    return path


def test_the_reference_is_verified(domino, shared, capsys):
    assert domino("verify", shared / "reference" / "ldm_small_square") == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["latents", "context", *(f"features.{i}" for i in range(4))]
    assert [line.split()[0] for line in lines[:6]] == names
    assert all(0 < float(line.split()[1]) < 2e-5 for line in lines[:6])
    assert lines[6] == "all within 2e-05"


def test_any_such_set_is_verified(domino, stem, capsys):
    assert domino("verify", stem) == 0
    assert domino("verify", stem, "--tolerance", "1e-12") == 1
    assert "DIFFERS" in capsys.readouterr().out


def changed(stem, folder, ending, edit):
    for path in stem.parent.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    path = folder / f"{stem.name}{ending}"
    if ending == ".json":
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))
    else:
        content = load_file(path)
        edit(content)
        save_file(content, path)
    return folder / stem.name


@pytest.mark.parametrize(
    ("ending", "edit", "name"),
    [
        (".json", lambda d: d.update(timestep=4), "features.3"),
        (".json", lambda d: d.update(latent_scale=0.51), "latents"),
        (".json", lambda d: d.update(max_attn_size=32), "features.0"),
        (".activations.safetensors", lambda s: s["context"].mul_(1.001), "context"),
        (".activations.safetensors", lambda s: s["features.2"][0].fill_(torch.nan), "features.2"),
    ],
    ids=["timestep", "scale", "maps", "context", "nan"],
)  # fmt: skip
def test_one_difference_is_enough_to_fail(domino, stem, tmp_path, capsys, ending, edit, name):
    assert domino("verify", changed(stem, tmp_path, ending, edit)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "DIFFERS" in next(line for line in lines if line.startswith(name))
    assert lines[-1] == "NOT all within 2e-05"


def test_files_that_cannot_be_used_are_status_2(domino, stem, tmp_path, capsys):
    assert domino("verify", tmp_path / "none") == 2
    assert "STEM.json, STEM.weights.safetensors and" in capsys.readouterr().err
    edited = changed(stem, tmp_path, ".json", lambda d: d.pop("vae"))
    assert domino("verify", edited) == 2
    assert "lacks vae" in capsys.readouterr().err
    edited = changed(stem, tmp_path, ".activations.safetensors", lambda s: s.pop("features.1"))
    assert domino("verify", edited) == 2
    assert "lacks features.1" in capsys.readouterr().err


# ---- vpd convert --------------------------------------------------------------------------------

D, N = 12, 4
CHANNELS = [8, 8 + N, 16 + N, 16]


def segmentor(folder, neck):
    head = dict(
        type="FPNHead", in_channels=[8] * 4, in_index=[0, 1, 2, 3], feature_strides=[8, 16, 32, 64],
        channels=8, num_classes=N, norm_cfg=dict(type="BN"), align_corners=False,
    )  # fmt: skip
    fpn = dict(type="FPN", in_channels=CHANNELS, out_channels=8, num_outs=4)
    domain = dict(
        type="DominoNorm", in_channels=CHANNELS, domain_channels=D, norm="layer", neck=fpn
    )
    necks = {"FPN": fpn, "DominoNorm": domain}
    return MODELS.build(
        dict(
            type="DominoEncoderDecoder",
            backbone=dict(
                type="DominoVPD", weights=str(folder / "model"), injection="none",
                classes=dict(embeddings=str(folder / "classes.safetensors"), count=N),
            ),
            neck=necks[neck], decode_head=head, train_cfg={}, test_cfg=dict(mode="whole"),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A segmentor with random weights, and the file in which the published code keeps the same."""
    folder = tmp_path_factory.mktemp("convert")
    write_folder(folder / "model")
    write_classes(folder / "classes.safetensors", torch.randn(N, D) * 5)
    unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
    randomise(unet, 5)
    randomise(vae, 6)
    model = segmentor(folder, "FPN")
    randomise(model.neck, 7)
    randomise(model.decode_head, 8)
    randomise(model.backbone.context, 9)
    model.backbone.unet.load_state_dict(unet.state_dict(), strict=False)
    model.backbone.vae.load_state_dict(vae.state_dict(), strict=False)
    model.backbone.context.class_embeddings.add_(1)
    context = model.backbone.context.state_dict()
    others = {
        **{k: v for k, v in model.state_dict().items() if k.startswith(("neck.", "decode_head."))},
        **{k.replace("adapter.", "adapter.fc."): v for k, v in context.items()},
        "auxiliary.strange": torch.ones(2),
    }
    state = published_vpd(unet, vae, others)
    path = folder / "vpd.pth"
    torch.save({"meta": {"epoch": 1, "iter": 80000}, "state_dict": state, "optimizer": {}}, path)
    return folder, path, model.eval()


def test_a_published_checkpoint_is_converted_losslessly(domino, trained, tmp_path, capsys):
    folder, path, reference = trained
    out = tmp_path / "converted.safetensors"
    assert domino("vpd", "convert", path, out) == 0
    model = segmentor(folder, "FPN").eval()
    load_checkpoint(model, str(out), strict=True)  # as load_from does
    expected = reference.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert torch.equal(model(x), reference(x))
    # The decoder's adapter and what nobody knows, in the original's names.
    report = json.loads(out.with_suffix(".json").read_text())
    assert report["not_used"] == [
        "auxiliary.strange", "encoder_vq.post_quant_conv.bias", "encoder_vq.post_quant_conv.weight",
    ]  # fmt: skip
    assert report["read"] == report["written"] + 3
    printed = capsys.readouterr().out
    assert "3 keys not used:\n    auxiliary.strange\n" in printed


def test_the_neck_goes_inside_a_domain_norm(domino, trained, tmp_path):
    folder, path, reference = trained
    out = tmp_path / "converted.safetensors"
    assert domino("vpd", "convert", path, out, "--domino-neck") == 0
    model = segmentor(folder, "DominoNorm")
    missing, unexpected = model.load_state_dict(load_file(out), strict=False)
    assert not unexpected
    assert all(key.startswith(("neck.norms.", "neck.domain.")) for key in missing)
    ours, stored = model.neck.neck.state_dict(), reference.neck.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in stored.items())


def test_half_precision_and_wrappers_are_kept_and_seen(domino, trained, tmp_path):
    _, path, _ = trained
    state = torch.load(path, weights_only=True)["state_dict"]
    half = {f"module.{k}": v.half() for k, v in state.items()}
    torch.save({"state_dict": half}, tmp_path / "half.pth")
    assert domino("vpd", "convert", tmp_path / "half.pth", tmp_path / "o.safetensors") == 0
    converted = load_file(tmp_path / "o.safetensors")
    assert {v.dtype for v in converted.values()} == {torch.float16}
    key = "unet.unet.diffusion_model.middle_block.1.proj_in.weight"
    ours = converted["backbone.unet.mid_block.attentions.0.proj_in.weight"]
    assert torch.equal(ours, state[key].half())


def test_another_checkpoint_is_not_converted(domino, tmp_path, capsys):
    torch.save({"state_dict": {"backbone.conv.weight": torch.ones(1)}}, tmp_path / "r.pth")
    assert domino("vpd", "convert", tmp_path / "r.pth", tmp_path / "o.safetensors") == 1
    assert "no checkpoint of a published VPD segmentor" in capsys.readouterr().err
    assert not (tmp_path / "o.safetensors").exists()
    assert domino("vpd", "convert", tmp_path / "no.pth", tmp_path / "o.safetensors") == 1
    assert "there is no weights file" in capsys.readouterr().err
    assert domino("vpd", "convert", tmp_path / "r.pth", tmp_path / "o.pth") == 2


# ---- vpd embed ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    return build_mini_models(tmp_path_factory.mktemp("mini"))


def test_names_from_arguments_files_and_data_sets(domino, mini, tmp_path, capsys):
    one, two, three = (tmp_path / f"{n}.safetensors" for n in ("one", "two", "three"))
    assert domino("vpd", "embed", one, "--classes", "road", "sky", "--weights", mini["sd"]) == 0
    assert "2 classes, 96 wide, mean norm" in capsys.readouterr().out
    (tmp_path / "names.txt").write_text("road\n\n sky \n")
    clip = f"open_clip:{mini['clip']}"
    assert (
        domino("vpd", "embed", two, "--names", tmp_path / "names.txt", "--text-encoder", clip) == 0
    )
    first = read_class_embeddings(one, ["road", "sky"])
    torch.testing.assert_close(read_class_embeddings(two), first, atol=1e-4, rtol=1e-4)
    assert domino("vpd", "embed", three, "--dataset", "cityscapes", "--weights", mini["sd"]) == 0
    cityscapes = read_class_embeddings(three)
    assert cityscapes.shape == (19, 96)
    assert torch.equal(cityscapes[0], first[0])


def test_what_cannot_be_embedded_is_said(domino, mini, tmp_path, capsys):
    out = tmp_path / "c.safetensors"
    assert domino("vpd", "embed", out, "--classes", "a", "a", "--weights", mini["sd"]) == 1
    assert "not empty and distinct" in capsys.readouterr().err
    assert domino("vpd", "embed", out, "--classes", "a", "--weights", tmp_path / "no.ckpt") == 1
    assert "there is no weights file" in capsys.readouterr().err
    assert not out.exists()
    assert (
        domino("vpd", "embed", tmp_path / "c.npy", "--classes", "a", "--weights", mini["sd"]) == 2
    )
