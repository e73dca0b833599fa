"""The cache against the encoder without one."""

import pytest
import torch
from diffusers import AutoencoderKL

from mmseg_domino.models.diffusion.latent_encoder import LatentEncoder

from .vpd_models import VAE, randomise


def make(cache=None, seed=0, **options):
    torch.manual_seed(seed)
    vae = AutoencoderKL(**VAE).eval()
    randomise(vae, seed)
    encoder = LatentEncoder(vae, cache=cache, **options)
    encoder.calls = []
    encoder.encoder.register_forward_pre_hook(lambda _m, args: encoder.calls.append(len(args[0])))
    return encoder


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.rand(3, 3, 32, 64) * 2 - 1


def test_no_image_is_encoded_twice(tmp_path, images):
    cached, plain = make(str(tmp_path)), make()
    torch.testing.assert_close(cached(images), plain(images))
    assert cached.calls == [1, 1, 1]
    first = cached(images)
    assert cached.calls == [1, 1, 1]
    # another process, another batch, another factor: the same latents
    again = make(str(tmp_path), scale=0.5)
    assert torch.equal(again(images[1:2]) * 2, first[1:2])
    assert again.calls == []
    # a crop is another image
    torch.testing.assert_close(cached(images[:, :, :, 32:]), plain(images[:, :, :, 32:]))
    assert cached.calls == [1] * 6


def test_other_weights_have_other_latents(tmp_path, images):
    one, two = make(str(tmp_path)), make(str(tmp_path), seed=5)
    first = one(images)
    assert not torch.allclose(two(images), first)
    one.load_state_dict(two.state_dict())
    assert torch.equal(one(images), two(images))


def test_a_damaged_file_is_made_again(tmp_path, images):
    encoder = make(str(tmp_path))
    first = encoder(images[:1])
    [file] = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:40])
    assert torch.equal(encoder(images[:1]), first)
    assert torch.equal(encoder(images[:1]), first)
    assert encoder.calls == [1, 1]


def test_a_sample_cannot_be_kept(tmp_path):
    with pytest.raises(ValueError, match=r"the same sample of an image each time"):
        make(str(tmp_path), mode="sample")
