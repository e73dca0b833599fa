"""Every form in which weights are found, and every one that must be refused."""

import copy as copies
import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from mmseg_domino.models.diffusion.architecture import resolve_architecture
from mmseg_domino.models.diffusion.weights import open_vae, open_weights

from .original_layout import original_file
from .vpd_models import ARCHITECTURE, UNET, VAE, randomise, write_folder, write_tiny_vae

SD2 = dict(UNET, attention_head_dim=(1, 2, 4, 4), use_linear_projection=True)
TAIL = ("conv_norm_out", "conv_out", "decoder", "post_quant_conv")


def models(unet_options=UNET):
    unet, vae = UNet2DConditionModel(**unet_options), AutoencoderKL(**VAE)
    randomise(unet, 0)
    randomise(vae, 1)
    return unet, vae


def kept(model):
    return {k: v for k, v in model.state_dict().items() if k.split(".")[0] not in TAIL}


def same(ours, reference):
    ours, reference = ours.state_dict(), kept(reference)
    assert set(ours) == set(reference)
    for name, value in reference.items():
        assert torch.equal(ours[name], value.float()), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("folder"))


@pytest.fixture
def copy(folder, tmp_path):
    """The folder, to be damaged."""
    return shutil.copytree(folder, tmp_path / "model")


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# ---- What loads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [UNET, SD2], ids=["sd1", "sd2"])
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_an_original_file_gives_the_models_it_was_made_of(options, suffix, tmp_path):
    unet, vae = models(options)
    state = original_file(unet, vae)
    # What original files hold besides.
    state |= {
        "betas": torch.ones(3),
        "alphas_cumprod": torch.ones(3),
        "posterior_variance": torch.ones(3),
        "model_ema.decay": torch.tensor(0.9),
        "cond_stage_model.transformer.text_model.final_layer_norm.bias": torch.ones(3),
        "first_stage_model.loss.logvar": torch.zeros(1),
    }
    path = tmp_path / f"model{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": state, "global_step": 7}, path)
    else:
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    source = open_weights(str(path), dict(unet=options, vae=VAE))
    same(source.unet(), unet)
    same(source.vae(), vae)


def test_a_pickle_of_before_zip_files_loads(tmp_path):
    unet, vae = models()
    path = tmp_path / "old.ckpt"
    torch.save(original_file(unet, vae), path, _use_new_zipfile_serialization=False)
    same(open_weights(str(path), ARCHITECTURE).unet(), unet)


def test_half_precision_becomes_float32_and_own_memory(tmp_path):
    unet, vae = models()
    unet.half(), vae.half()
    path = tmp_path / "half.safetensors"
    save_file({k: v.contiguous() for k, v in original_file(unet, vae).items()}, path)
    ours = open_weights(str(path), ARCHITECTURE).unet()
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    same(ours, unet)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(1)  # training writes to it
    same(open_weights(str(path), ARCHITECTURE).unet(), unet)


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_a_diffusers_folder_loads(tmp_path, variant, safe):
    unet, vae = models(SD2)
    for part, model in (("unet", unet), ("vae", vae)):
        model.half() if variant else model
        model.save_pretrained(tmp_path / part, variant=variant, safe_serialization=safe)
    source = open_weights(str(tmp_path))
    same(source.unet(), unet)
    same(source.vae(), vae)
    assert {p.dtype for p in source.unet().parameters()} == {torch.float32}


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_plain_shards_are_preferred_to_half_precision(tmp_path, safe):
    unet, vae = models(SD2)
    vae.save_pretrained(tmp_path / "vae")
    options = dict(max_shard_size="200KB", safe_serialization=safe)
    unet.save_pretrained(tmp_path / "unet", **options)
    assert list((tmp_path / "unet").glob("*index.json"))
    wrong = copies.deepcopy(unet)
    with torch.no_grad():
        for parameter in wrong.parameters():
            parameter.mul_(1.25)
    wrong.half().save_pretrained(tmp_path / "half", variant="fp16", safe_serialization=safe)
    for path in (tmp_path / "half").glob("*.fp16.*"):
        path.rename(tmp_path / "unet" / path.name)
    same(open_weights(str(tmp_path)).unet(), unet)


def test_the_output_layers_are_not_there(folder):
    source = open_weights(str(folder))
    assert source.unet().conv_out is None
    assert source.unet().conv_norm_out is None
    assert source.vae().decoder is None


@pytest.mark.parametrize(("name", "width", "heads"), [("sd15", 768, 8), ("sd21", 1024, None)])
def test_the_sizes_of_stable_diffusion_are_recognised(name, width, heads, tmp_path):
    """True size, without memory: the file's shapes are those of the published models."""
    from mmseg_domino.models.diffusion.architecture import architecture_of_shapes

    with torch.device("meta"):
        unet = open_weights("random", name).unet()
    count = sum(p.numel() for p in unet.parameters())
    # 859.52 M and 865.91 M parameters, output layers (12,164) included
    assert count + 12_164 == {"sd15": 859_520_964, "sd21": 865_910_724}[name]
    assert unet.config.cross_attention_dim == width
    attention = unet.down_blocks[2].attentions[0].transformer_blocks[0].attn1
    assert attention.heads == (heads or 20)
    shapes = {
        "input_blocks.0.0.weight": (320, 4, 3, 3),
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, width),
    }
    assert architecture_of_shapes(shapes) == name


def test_original_arguments_of_the_second_generation():
    original = dict(
        unet=dict(
            image_size=32, in_channels=4, out_channels=4, model_channels=320,
            attention_resolutions=[4, 2, 1], num_res_blocks=2, channel_mult=[1, 2, 4, 4],
            num_head_channels=64, use_spatial_transformer=True, use_linear_in_transformer=True,
            transformer_depth=1, context_dim=1024, legacy=False,
        ),
        vae=dict(
            double_z=True, z_channels=4, resolution=256, in_channels=3, out_ch=3, ch=128,
            ch_mult=[1, 2, 4, 4], num_res_blocks=2, attn_resolutions=[], dropout=0.0,
        ),
    )  # fmt: skip
    resolved = resolve_architecture(original)
    with torch.device("meta"):
        ours = UNet2DConditionModel(**resolved["unet"])
        named = UNet2DConditionModel(**resolve_architecture("sd21")["unet"])
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in named.state_dict().items()
    }
    heads = [b.attentions[0].transformer_blocks[0].attn1.heads for b in ours.down_blocks[:3]]
    assert heads == [5, 10, 20]


# ---- What is refused: original files ------------------------------------------------------------


def refuse(state, tmp_path, match, architecture=ARCHITECTURE):
    path = tmp_path / "bad.safetensors"
    save_file({k: v.contiguous() for k, v in state.items()}, path)
    with pytest.raises(ValueError, match=match) as error:
        source = open_weights(str(path), architecture)
        source.unet(), source.vae()
    assert str(path) in str(error.value)


def test_sdxl_file_is_refused(tmp_path):
    state = original_file(*models())
    state["model.diffusion_model.label_emb.0.0.weight"] = torch.ones(2, 2)
    state["conditioner.embedders.0.transformer.weight"] = torch.ones(2)
    refuse(state, tmp_path, "is SDXL .* Use a Stable Diffusion 1.x or 2.x")


def test_inpainting_file_is_refused(tmp_path):
    state = original_file(*models(dict(UNET, in_channels=9)))
    refuse(state, tmp_path, r"takes 9 input channels, expected 4 \(9: an inpainting")


def test_a_file_without_a_unet_is_refused(tmp_path):
    refuse({"lora_unet.weight": torch.ones(2)}, tmp_path, "has no UNet.*found such as.*lora_unet")


def test_a_file_without_an_autoencoder_is_refused(tmp_path):
    state = {k: v for k, v in original_file(*models()).items() if not k.startswith("first_stage")}
    refuse(state, tmp_path, "no autoencoder: expected keys that begin with first_stage_model")


def test_missing_keys_are_named(tmp_path):
    state = original_file(*models())
    del state["model.diffusion_model.middle_block.0.in_layers.2.weight"]
    refuse(state, tmp_path, r"Missing: 1, the first: mid_block.resnets.0.conv1.weight")


def test_missing_keys_of_the_autoencoder_are_named(tmp_path):
    state = original_file(*models())
    del state["first_stage_model.encoder.mid.attn_1.q.bias"]
    refuse(state, tmp_path, r"Missing: 1, the first: encoder.mid_block.attentions.0.to_q.bias")


@pytest.mark.parametrize(
    "key",
    ["model.diffusion_model.input_blocks.1.2.strange.weight", "first_stage_model.extra.weight"],
)
def test_unexpected_keys_of_a_part_are_named(key, tmp_path):
    state = {**original_file(*models()), key: torch.ones(2)}
    refuse(state, tmp_path, rf"Unexpected: 1, the first: {key}")


def test_keys_of_no_known_part_are_named(tmp_path):
    state = {**original_file(*models()), "control_model.input_hint.weight": torch.ones(2)}
    refuse(state, tmp_path, "1 unexpected keys that belong to no part .*control_model.input_hint")


def test_another_shape_is_named(tmp_path):
    refuse(
        original_file(*models(dict(UNET, cross_attention_dim=20))), tmp_path,
        r"Of another shape: .*attn2.to_k.weight \(found \(8, 20\), expected \(8, 12\)\)",
    )  # fmt: skip


def test_an_unknown_size_needs_its_architecture(tmp_path):
    refuse(original_file(*models()), tmp_path, "give `architecture`", architecture=None)


@pytest.mark.parametrize("cut", [4, 100, -1])
def test_a_half_downloaded_safetensors_file_is_refused(cut, tmp_path):
    path = tmp_path / "cut.safetensors"
    save_file({"model.diffusion_model.x": torch.ones(100)}, path)
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    with pytest.raises(ValueError, match=r"cannot be read as safetensors.*fetch or make") as error:
        open_weights(str(path), ARCHITECTURE)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_half_downloaded_pickle_is_refused(zipped, tmp_path):
    path = tmp_path / "cut.ckpt"
    torch.save({"a": torch.ones(1000)}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(ValueError, match=r"cut\.ckpt"):
        open_weights(str(path), ARCHITECTURE)


class _Callback:
    def __reduce__(self):
        return print, ("the file's code ran",)


def test_a_pickle_that_runs_code_is_refused_with_the_way_out(tmp_path, capsys):
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": original_file(*models()), "callbacks": _Callback()}, path)
    with pytest.raises(ValueError, match="holds more than tensors and plain values") as error:
        open_weights(str(path), ARCHITECTURE)
    assert "the file's code ran" not in capsys.readouterr().out
    # The advice works: with it the file loads, and it runs code only there.
    command = str(error.value).split("once:\n")[1].splitlines()[0]
    assert command.strip().startswith("python -c")
    assert str(path) in command
    import shlex
    import subprocess
    import sys

    subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True, capture_output=True)
    converted = path.with_suffix(".safetensors")
    assert set(load_file(converted)) == set(original_file(*models()))
    same(open_weights(str(converted), ARCHITECTURE).unet(), models()[0])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights file .*none\.safetensors"):
        open_weights(str(tmp_path / "none.safetensors"))


# ---- What is refused: folders -------------------------------------------------------------------


def test_sdxl_folder_is_refused_before_its_weights_are_read(copy):
    edit_config(copy / "unet", addition_embed_type="text_time", block_out_channels=[8, 16, 16])
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"3 resolution levels, expected 4 \(is it SDXL\?\)"):
        open_weights(str(copy)).unet()


def test_inpainting_folder_is_refused(copy):
    edit_config(copy / "unet", in_channels=9)
    with pytest.raises(ValueError, match=r"unet.*9 input channels, expected 4 \(9: an inpainting"):
        open_weights(str(copy)).unet()


def test_unclip_folder_is_refused(copy):
    edit_config(copy / "unet", class_embed_type="projection")
    with pytest.raises(ValueError, match=r"wants an image embedding .*unCLIP"):
        open_weights(str(copy)).unet()


def test_a_folder_without_a_vae_says_what_it_has(copy):
    shutil.rmtree(copy / "vae")
    with pytest.raises(FileNotFoundError, match=r"has no `vae`: expected .*found \['unet'\]"):
        open_weights(str(copy)).vae()


def test_a_part_without_weights_or_config_is_named(copy):
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"unet has no weights: .*found \['config.json'\]"):
        open_weights(str(copy)).unet()
    (copy / "vae" / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"vae has no config\.json"):
        open_weights(str(copy)).vae()


def test_a_half_downloaded_folder_is_refused(copy):
    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="cannot be read as safetensors") as error:
        open_weights(str(copy)).unet()
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("conv_in.bias"), r"1 missing keys, the first \['conv_in.bias'\]"),
        (lambda s: s.update(more=torch.ones(1)), r"1 unexpected keys, the first \['more'\]"),
        (lambda s: s.update({"conv_in.bias": torch.ones(3)}), "conv_in.bias"),
    ],
)
def test_a_folder_whose_weights_are_not_its_configs_is_refused(change, match, copy):
    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=match) as error:
        open_weights(str(copy)).unet()
    assert str(copy / "unet") in str(error.value)


def test_missing_hub_weights_name_the_command_and_the_offline_variable(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError) as error:
        open_weights("someone/some-model")
    message = str(error.value)
    assert (
        "'someone/some-model' is no file or folder here, nor in the Hugging Face cache" in message
    )
    assert "hf download someone/some-model --include 'unet/*.json'" in message
    assert "HF_HUB_OFFLINE=1" in message


def test_a_mistyped_path_is_no_hub_name(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="is no file or folder here"):
        open_weights(str(tmp_path / "a" / "b" / "c"))


@pytest.mark.parametrize(
    ("architecture", "match"),
    [
        ("sd3", "unknown architecture 'sd3'; give one of sd15, sd21"),
        (None, "these weights need `architecture`"),
        (dict(unet=UNET), "these weights need `architecture`"),
        (dict(unet=dict(UNET, in_channels=9), vae=VAE), "9 input channels"),
        (dict(unet=dict(model_channels=32), vae=VAE), "in one"),
    ],
)
def test_random_weights_need_a_fitting_architecture(architecture, match):
    with pytest.raises(ValueError, match=match):
        open_weights("random", architecture)


# ---- Encoders on their own ----------------------------------------------------------------------


def test_autoencoders_of_a_folder_load(folder, tmp_path):
    assert isinstance(open_vae(folder / "vae"), AutoencoderKL)
    assert open_vae(write_tiny_vae(tmp_path / "tiny")).decoder is None


def test_another_file_is_no_taesd_encoder(tmp_path):
    save_file({"encoder.weight": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x\.safetensors is no TAESD encoder: expected the keys"):
        open_vae(tmp_path / "x.safetensors")


def test_a_decoder_is_no_taesd_encoder(shared):
    with pytest.raises(ValueError, match=r"taesd_decoder\.safetensors"):
        open_vae(shared / "weights" / "taesd_decoder.safetensors")


def test_autoencoders_of_other_latents_are_refused(tmp_path):
    AutoencoderKL(**dict(VAE, latent_channels=16)).save_pretrained(tmp_path / "wide")
    with pytest.raises(ValueError, match="has 16 latent channels, expected the 4"):
        open_vae(tmp_path / "wide")
    small = dict(VAE, block_out_channels=(4, 8), down_block_types=VAE["down_block_types"][:2],
                 up_block_types=VAE["up_block_types"][:2])  # fmt: skip
    AutoencoderKL(**small).save_pretrained(tmp_path / "fine")
    with pytest.raises(ValueError, match="latent of 2 x 2 pixels, expected the 8 x 8"):
        open_vae(tmp_path / "fine")


def test_a_unet_is_no_autoencoder(folder):
    with pytest.raises(ValueError, match="holds a UNet2DConditionModel, expected one of"):
        open_vae(folder / "unet")
