"""The encoder against diffusers' autoencoders, and TAESD on real frames."""

import cv2
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import load_file

from mmseg_domino.models.diffusion.latent_encoder import LatentEncoder
from mmseg_domino.models.diffusion.original_layout import convert_taesd
from mmseg_domino.models.diffusion.weights import open_vae

from .vpd_models import VAE, randomise


@pytest.fixture
def vae(device):
    """Diffusers' own; the encoder exchanges some layers of what it is given."""
    vae = AutoencoderKL(**VAE).eval()
    randomise(vae)
    return vae.to(device)


@pytest.fixture
def images(device):
    torch.manual_seed(0)
    return torch.rand(3, 3, 32, 64).to(device) * 2 - 1


def test_the_mode_and_its_scale(vae, images):
    with torch.no_grad():
        reference = vae.encode(images).latent_dist.mode()
    latent = LatentEncoder(vae)(images)
    torch.testing.assert_close(latent, reference)
    assert not latent.requires_grad
    torch.testing.assert_close(LatentEncoder(vae, scale=0.18215)(images), reference * 0.18215)


def test_a_sample_is_one_of_the_posterior(vae, images):
    with torch.no_grad():
        posterior = vae.encode(images).latent_dist
    torch.manual_seed(5)
    expected = posterior.sample()
    encoder = LatentEncoder(vae, mode="sample")
    torch.manual_seed(5)
    torch.testing.assert_close(encoder(images), expected)
    many = torch.stack([encoder(images[:1]) for _ in range(300)])
    torch.testing.assert_close(many.mean(dim=0), posterior.mean[:1], atol=0.3, rtol=0.1)


@pytest.mark.parametrize("batch", [1, 2, 3, 10])
def test_the_number_at_a_time_does_not_matter(vae, images, batch):
    calls = []
    hook = vae.encoder.register_forward_pre_hook(lambda _m, args: calls.append(len(args[0])))
    torch.testing.assert_close(LatentEncoder(vae, batch=batch)(images), LatentEncoder(vae)(images))
    hook.remove()
    assert max(calls[:-1]) <= batch


def test_it_stays_frozen_and_in_evaluation_mode(vae):
    encoder = LatentEncoder(vae)
    whole = torch.nn.Sequential(encoder)
    whole.requires_grad_(True)
    whole.train()
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())


def test_half_precision_only_when_asked_and_latents_stay_float32(vae, images, device):
    exact = LatentEncoder(vae)(images)
    half = LatentEncoder(vae, dtype="bfloat16")(images)
    assert half.dtype == torch.float32
    assert not torch.equal(half, exact)
    assert (half - exact).abs().max() < 0.05 * exact.abs().max()
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert torch.equal(LatentEncoder(vae, dtype="float32")(images), exact)
        torch.testing.assert_close(LatentEncoder(vae)(images), half)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(mode="mean"), "vae.latent must be 'mode' or 'sample', got 'mean'"),
        (dict(batch=0), "vae.batch must be at least 1, or None for all; got 0"),
        (dict(dtype="half"), "vae.dtype must be one of float32, bfloat16, float16 or None, got"),
    ],
)
def test_options_that_do_not_exist_are_refused(vae, options, match):
    with pytest.raises(ValueError, match=match):
        LatentEncoder(vae, **options)


def test_taesd_has_no_posterior():
    with pytest.raises(ValueError, match="has no posterior to sample from"):
        LatentEncoder(AutoencoderTiny(), mode="sample")


# ---- The published TAESD on real frames ---------------------------------------------------------


def read(path):
    """A frame, RGB ``(1, 3, H, W)`` in [-1, 1]."""
    pixels = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


def frame_of(shared, condition):
    """The middle frame of a condition's validation sequence."""
    paths = sorted((shared / "camvid" / "img" / condition / "val").iterdir())
    return read(paths[len(paths) // 2])


@pytest.fixture(scope="module")
def taesd(shared):
    """The whole model, from its original files."""
    state = {}
    for part in ("encoder", "decoder"):
        original = load_file(shared / "weights" / f"taesd_{part}.safetensors")
        state |= convert_taesd(original, part)
    model = AutoencoderTiny()
    model.load_state_dict(state)
    return model.eval()


def test_taesd_gives_back_real_frames(shared, taesd):
    """24 dB and more; by day, fine texture at 480 x 360 is what is lost."""
    encoder = LatentEncoder(
        open_vae(shared / "weights" / "taesd_encoder.safetensors"), scale=0.18215
    )
    psnr = {}
    for condition in ("day", "dusk"):
        frame = frame_of(shared, condition)
        with torch.no_grad():
            decoded = taesd.decode(encoder(frame)).sample.clamp(-1, 1)
        error = ((decoded - frame) / 2).square().mean()
        psnr[condition] = -10 * torch.log10(error).item()
    assert psnr["dusk"] >= 24, psnr
    assert (psnr["day"] + psnr["dusk"]) / 2 >= 24, psnr
    assert psnr["day"] >= 18, psnr


def test_taesd_is_the_same_from_a_diffusers_folder(shared, taesd, tmp_path):
    taesd.save_pretrained(tmp_path)
    frame = frame_of(shared, "dusk")[..., :64, :128]
    latent = LatentEncoder(open_vae(tmp_path))(frame)
    original = open_vae(shared / "weights" / "taesd_encoder.safetensors")
    assert torch.equal(LatentEncoder(original)(frame), latent)
    # Stable Diffusion's latents have a deviation near 1 after its factor, by construction.
    assert 0.5 < (latent * 0.18215).std() < 1.5
