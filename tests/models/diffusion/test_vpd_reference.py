"""The backbone against what the original VPD code computes, from every form of weights."""

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from mmseg_domino.models.diffusion.architecture import resolve_architecture
from mmseg_domino.models.diffusion.original_layout import convert_unet, convert_vae

from .vpd_models import (
    REFERENCE,
    make_vpd,
    reference_description,
    relative_difference,
    write_classes,
)

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def reference(shared, tmp_path_factory):
    """Description, weights file, activations and class embeddings' file of the reference."""
    stem = shared / "reference" / REFERENCE
    activations = load_file(stem.with_suffix(".activations.safetensors"))
    classes = write_classes(
        tmp_path_factory.mktemp("classes") / "c.safetensors", activations["class_embeddings"]
    )
    weights = str(stem.with_suffix(".weights.safetensors"))
    return reference_description(shared), weights, activations, classes


def build(reference, weights=None, architecture=True, **kwargs):
    description, own_weights, activations, classes = reference
    given = {"unet": description["unet"], "vae": description["vae"]} if architecture else None
    backbone = make_vpd(
        weights or own_weights,
        given,
        embeddings=classes,
        injection="none",
        maps=(8, 16, 32),
        **kwargs,
    )
    backbone.read_weights()
    adapter = {
        key.replace("text_adapter.fc.", "text_adapter."): value
        for key, value in activations.items()
        if key.startswith("text_adapter.") or key in ("gamma", "class_embeddings")
    }
    backbone.context.load_state_dict(adapter)
    return backbone.eval()


def check(backbone, activations):
    with torch.no_grad():
        latent = backbone.encode(activations["images"])
        context = backbone.context(None).expand(len(latent), -1, -1)
        features = backbone(activations["images"])
    assert relative_difference(latent, activations["latents"]) < TOLERANCE
    assert relative_difference(context, activations["context"]) < TOLERANCE
    for level, feature in enumerate(features):
        stored = activations[f"features.{level}"]
        assert relative_difference(feature, stored) < TOLERANCE, f"level {level}"
    assert backbone.out_channels == tuple(f.shape[1] for f in features)


def test_single_safetensors_file(reference):
    check(build(reference), reference[2])


def test_single_pickle_file(reference, tmp_path):
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": load_file(reference[1]), "global_step": 3}, path)
    check(build(reference, str(path)), reference[2])


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory):
    """The reference's weights as a diffusers folder, decoder and tail random."""
    root = tmp_path_factory.mktemp("diffusers")
    description, weights, *_ = reference
    architecture = resolve_architecture({k: description[k] for k in ("unet", "vae")})
    state = load_file(weights)
    unet = UNet2DConditionModel(**architecture["unet"])
    unet.load_state_dict(convert_unet(state, architecture["unet"])[0])
    unet.save_pretrained(root / "unet")
    vae = AutoencoderKL(**architecture["vae"])
    missing, unexpected = vae.load_state_dict(convert_vae(state)[0], strict=False)
    assert not unexpected
    assert all(key.startswith(("decoder.", "post_quant_conv.")) for key in missing)
    vae.save_pretrained(root / "vae")
    return str(root)


def test_diffusers_folder(reference, folder):
    check(build(reference, folder, architecture=False), reference[2])


def test_name_in_the_hub_cache(reference, folder, tmp_path, monkeypatch):
    import shutil

    from huggingface_hub import constants

    snapshot = tmp_path / "models--someone--small-model" / "snapshots" / ("0" * 40)
    shutil.copytree(folder, snapshot)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check(build(reference, "someone/small-model", architecture=False), reference[2])


@pytest.mark.parametrize(
    "options",
    [dict(channels_last=True), dict(vae_batch=1), dict(checkpointing=True)],
    ids=lambda options: next(iter(options)),
)
def test_options_that_do_not_change_the_result(reference, options):
    check(build(reference, **options), reference[2])


def test_published_class_embeddings(shared, tmp_path):
    """150 classes, 768 wide: another class count, with maps at every level."""
    from .vpd_models import UNET, VAE

    path = str(shared / "reference" / "ade20k_class_embeddings.safetensors")
    backbone = make_vpd(
        embeddings=path,
        count=150,
        injection="none",
        maps=(8, 16, 32),
        architecture=dict(unet=dict(UNET, cross_attention_dim=768), vae=VAE),
    )
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 64, 128))
    assert [f.shape[1] for f in features] == [158, 158, 166, 16]
    assert torch.equal(backbone.context.class_embeddings, load_file(path)["class_embeddings"])


def test_saved_single_file_of_other_dtype_is_read_as_float32(reference, tmp_path):
    state = {k: v.half() for k, v in load_file(reference[1]).items()}
    path = tmp_path / "half.safetensors"
    save_file(state, path)
    backbone = build(reference, str(path))
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
