"""Training the mini-SD and the mini-ControlNet: the parts in closed form, and a few steps."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from benchmarks.paper.training.controlnet_training import (
    ControlnetPhase,
    ControlnetRecipe,
    control_windows,
    train_controlnet,
)
from benchmarks.paper.training.denoising import (
    TextStates,
    TrainingData,
    View,
    diffuse,
    draw_text,
    draw_windows,
    encode_frames,
    load_latents,
    shown_classes,
    velocity_loss,
)
from benchmarks.paper.training.probe import ProbeRecipe, confusion, mean_iou, train_probe
from benchmarks.paper.training.training import TrainingLog, cosine_rate, optimise, trained_once
from benchmarks.paper.training.unet_training import UnetPhase, UnetRecipe, train_unet
from benchmarks.paper.training.vae_training import (
    DecoderRecipe,
    VaeRecipe,
    normalise_latents,
    reconstruction_loss,
    train_decoder,
    train_vae,
)
from mmseg_domino.domain.prompts import load_prompt_bank
from mmseg_domino.synthesis.colours import class_colours, control_image
from mmseg_domino.synthesis.prompts import caption_classes
from street_world.frames import FrameRecipe, load_frames, shown_domains
from street_world.models import (
    build_scheduler,
    build_unet,
    build_vae,
    load_tokenizer,
    load_trained_clip,
    text_encoder_from_clip,
)
from street_world.street import CLASSES, DOMAINS, render, sample_scene

FRAMES = FrameRecipe(scenes=2, shown=3, size=(128, 256), seed=99)
VIEWS = (View("half", 8, 16, 2, 0.5), View("full", 8, 8, 3, 0.5))


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return load_frames(tmp_path_factory.mktemp("frames"), FRAMES, workers=0)


@pytest.fixture(scope="module")
def latents(frames):
    torch.manual_seed(0)
    return encode_frames(build_vae().eval(), frames)


@pytest.fixture(scope="module")
def texts():
    tokenizer = load_tokenizer()
    return TextStates(text_encoder_from_clip(load_trained_clip(), tokenizer), tokenizer)


@pytest.fixture(scope="module")
def data(latents, frames, texts):
    return TrainingData(latents, frames, texts)


def assert_same_weights(a, b):
    for (name, value), other in zip(a.named_parameters(), b.parameters(), strict=True):
        assert torch.equal(value, other), name


def test_frames_are_the_worlds_own(frames):
    assert frames.images.shape == (6, 128, 256, 3)
    assert frames.domains.tolist() == [0, 1, 2, 2, 3, 4]
    scene = sample_scene(810_000_000 + 100_000 * 99 + 1, (128, 256))
    strength = float(np.random.default_rng((scene.seed, 30)).uniform(0.4, 1.0))
    picture = render(scene, "night", strength)
    np.testing.assert_array_equal(frames.images[3], picture.image)
    np.testing.assert_array_equal(frames.labels[1], picture.label)
    assert frames.captions[3] == picture.caption


def test_frames_are_rendered_once(tmp_path):
    recipe = replace(FRAMES, scenes=1, shown=1, size=(64, 128))
    first = load_frames(tmp_path, recipe, workers=0)
    written = (tmp_path / "images.npy").stat().st_mtime_ns
    load_frames(tmp_path, recipe, workers=0)
    assert (tmp_path / "images.npy").stat().st_mtime_ns == written
    other = load_frames(tmp_path, replace(recipe, seed=98), workers=0)
    assert (tmp_path / "images.npy").stat().st_mtime_ns != written
    assert not np.array_equal(first.labels, other.labels)


def test_every_domain_is_shown_equally_often():
    shown = [domain for scene in range(10) for domain in shown_domains(scene, 3)]
    assert np.bincount(shown).tolist() == [6] * len(DOMAINS)
    assert len(set(shown_domains(7, 3))) == 3


def test_rate_warms_up_and_falls_to_zero():
    rates = [cosine_rate(step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, rel=0.03)
    assert rates[50] == pytest.approx(0.5)
    assert rates[-1] < 0.01


def test_parameters_end_as_the_average_of_what_adamw_made_of_them():
    """Against AdamW, the rate and the average written out; the gradient is below the clip."""
    start = torch.linspace(-0.3, 0.3, 5)
    value = torch.nn.Parameter(start.clone())
    settings = dict(iterations=20, warmup=4, weight_decay=0.1, name="test")
    log = optimise(
        [value],
        lambda step: (value.pow(2).sum(), {"loss": value.pow(2).sum()}),
        learning_rate=0.05,
        average=0.5,
        **settings,
    )

    plain = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([plain], 1.0, betas=(0.9, 0.99), weight_decay=0.1)
    mean, losses = start.clone(), []
    for step in range(20):
        optimizer.param_groups[0]["lr"] = 0.05 * cosine_rate(step, 20, 4)
        loss = plain.pow(2).sum()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay = min(0.5, (1 + step) / (10 + step)) if step else 0.0
        mean = decay * mean + (1 - decay) * plain.detach()
    torch.testing.assert_close(value.detach(), mean)
    assert log[-1]["iteration"] == 20
    assert log[-1]["loss"] == pytest.approx(np.mean(losses), abs=1e-5)


def test_steep_gradients_are_clipped():
    value = torch.nn.Parameter(torch.zeros(4))
    seen = []
    value.register_post_accumulate_grad_hook(lambda tensor: seen.append(tensor))

    def loss_of(step):
        return 100 * value.sum(), {}

    optimise(
        [value], loss_of, iterations=1, learning_rate=0.1, warmup=0, weight_decay=0.0, name="test"
    )
    assert seen[0].grad.norm().item() == pytest.approx(1.0, rel=1e-4)


def test_log_means_over_its_interval():
    log = TrainingLog(iterations=5, interval=2)
    for step in range(5):
        log.add(step, loss=step)
    assert [line["iteration"] for line in log.lines] == [2, 4, 5]
    assert [line["loss"] for line in log.lines] == [0.5, 2.5, 4.0]


def test_normalised_latents_give_the_same_images():
    torch.manual_seed(1)
    vae = build_vae().eval()
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before, posterior = vae(images).sample, vae.encode(images).latent_dist
        mean, std = posterior.mean.mean((0, 2, 3)), posterior.mean.std((0, 2, 3))
        normalise_latents(vae, mean, std)
        after, normal = vae(images).sample, vae.encode(images).latent_dist
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(normal.mean.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(normal.mean.std((0, 2, 3)), torch.ones(4), rtol=1e-3, atol=0)
    torch.testing.assert_close(normal.std, posterior.std / std.view(1, 4, 1, 1))


def test_reconstruction_loss_weighs_colour():
    grey = torch.zeros(1, 3, 16, 16)
    brighter = grey + 0.1
    assert reconstruction_loss(grey, grey, 3.0) == 0
    # Brightness alone, one channel of three: squared, and absolute at three resolutions.
    expected = 2 * 0.1**2 / 3 + 3 * 0.1 / 3
    assert reconstruction_loss(brighter, grey, 3.0).item() == pytest.approx(expected, rel=1e-4)
    red = grey.clone()
    red[:, 0] = 0.1
    parts = 0.1 * np.array([0.299, 3 * (1 - 0.299), 3 * -0.299])
    expected = 2 * (parts**2).mean() + 3 * abs(parts).mean()
    assert reconstruction_loss(red, grey, 3.0).item() == pytest.approx(expected, rel=1e-4)


def test_diffusion_is_inverted_by_its_velocity():
    scheduler = build_scheduler()
    latents = torch.randn(8, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    noisy, velocity, steps = diffuse(latents, scheduler, torch.Generator().manual_seed(1))
    assert (steps // 125).tolist() == list(range(8))  # one from each eighth
    alpha = scheduler.alphas_cumprod[steps].view(-1, 1, 1, 1)
    rebuilt = alpha.sqrt() * noisy - (1 - alpha).sqrt() * velocity
    torch.testing.assert_close(rebuilt, latents, rtol=1e-4, atol=1e-5)
    assert scheduler.alphas_cumprod[-1] < 1e-6  # ends in pure noise


@pytest.mark.parametrize("layout", [True, False])
def test_velocity_loss_is_limited_where_there_is_little_noise(layout):
    scheduler = build_scheduler()
    ones, zeros = torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    for step in (0, 300, 800, 999):
        alpha = scheduler.alphas_cumprod[step].item()
        snr = alpha / (1 - alpha)
        expected = min(1, 5 / max(snr, 1e-6)) if layout else max(0.1, min(snr, 5)) / (snr + 1)
        loss = velocity_loss(ones, zeros, scheduler, torch.tensor([step]), 5.0, layout)
        assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_texts_are_true_of_their_frame(frames):
    rng = np.random.default_rng(0)
    bank = load_prompt_bank("acdc")
    for frame in range(6):
        prompts = bank.domains[frames.domains[frame]].prompts
        assert draw_text(frame, frames, (1, 0, 0, 0), "acdc", rng) == frames.captions[frame]
        text = draw_text(frame, frames, (0, 0, 1, 0), "acdc", rng)
        assert text.startswith(prompts)
        assert draw_text(frame, frames, (0, 0, 0, 1), "acdc", rng) == ""


def test_classes_are_listed_as_synthesis_does(frames):
    for label in frames.labels:
        names = caption_classes(label, CLASSES)
        assert shown_classes(label) == ", ".join(names[:-1]) + " and " + names[-1]


def test_control_is_the_colour_code_of_synthesis(frames, latents):
    colours = class_colours(CLASSES)
    windows = draw_windows(VIEWS[1:], latents, np.random.default_rng(0))
    controls = control_windows(windows, frames, colours)
    assert controls.shape == (3, 3, 64, 64)
    for control, frame, (top, left) in zip(controls, windows.frames, windows.corners, strict=True):
        whole = control_image(np.array(frames.labels[frames.scenes[frame]]), colours)
        part = whole[8 * top : 8 * top + 64, 8 * left : 8 * left + 64]
        np.testing.assert_array_equal((control * 255).round().permute(1, 2, 0), part)


def test_windows_are_parts_of_their_frame(latents):
    rng = np.random.default_rng(3)
    for _ in range(6):
        windows = draw_windows(VIEWS, latents, rng)
        for latent, frame, (top, left) in zip(
            windows.latents, windows.frames, windows.corners, strict=True
        ):
            pool = latents.half[frame] if windows.source == "half" else latents.full[frame // 2]
            h, w = latent.shape[1:]
            assert torch.equal(latent, pool[:, top : top + h, left : left + w])


def test_vae_trains_deterministically(frames):
    recipe = VaeRecipe(FRAMES, iterations=3, batch_size=2, window=32)
    state = torch.random.get_rng_state()
    (a, log), (b, _) = (train_vae(recipe, frames) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_same_weights(a, b)
    assert np.isfinite(log[-1]["reconstruction"])
    latents = encode_frames(a, frames, full_step=1)
    assert latents.full.std((0, 2, 3)).sub(1).abs().max() < 0.5


def test_decoder_trains_deterministically_and_leaves_the_latents(frames):
    torch.manual_seed(2)
    vae = build_vae().eval()
    recipe = DecoderRecipe(iterations=2, batch_size=2, window=32)
    (a, _), (b, _) = (train_decoder(recipe, copy.deepcopy(vae), frames) for _ in range(2))
    assert_same_weights(a, b)
    assert_same_weights(a.encoder, vae.encoder)
    assert_same_weights(a.quant_conv, vae.quant_conv)
    assert not torch.equal(a.decoder.conv_in.weight, vae.decoder.conv_in.weight)


def test_latents_are_encoded_once(frames, tmp_path):
    torch.manual_seed(3)
    vae, path = build_vae().eval(), tmp_path / "latents.safetensors"
    first = load_latents(path, vae, frames)
    written = path.stat().st_mtime_ns
    vae.decoder.conv_in.weight.data += 1  # decides nothing here
    again = load_latents(path, vae, frames)
    assert path.stat().st_mtime_ns == written
    assert torch.equal(first.half, again.half)
    vae.encoder.conv_in.weight.data += 0.1
    assert not torch.equal(load_latents(path, vae, frames).half, first.half)


def test_unet_trains_deterministically(data):
    phases = (UnetPhase(2, 1e-3, VIEWS, layout=False), UnetPhase(1, 1e-3, VIEWS, layout=True))
    recipe = UnetRecipe(phases)
    (a, log), (b, _) = (train_unet(recipe, data) for _ in range(2))
    assert_same_weights(a, b)
    assert [line["phase"] for line in log] == [1, 2]
    assert np.isfinite(log[-1]["loss"])
    other, _ = train_unet(replace(recipe, seed=1), data)
    assert not torch.equal(other.conv_in.weight, a.conv_in.weight)


def test_controlnet_trains_deterministically_and_leaves_the_unet(data):
    unet = build_unet()
    before = copy.deepcopy(unet)
    phases = tuple(ControlnetPhase(n, 1e-3, VIEWS, (0.3, 0.3, 0.2, 0.2)) for n in (2, 1))
    recipe = ControlnetRecipe(phases)
    colours = class_colours(CLASSES)
    (a, _), (b, _) = (train_controlnet(recipe, unet, data, colours) for _ in range(2))
    assert_same_weights(a, b)
    assert_same_weights(unet, before)
    assert any(block.weight.abs().sum() > 0 for block in a.controlnet_down_blocks)


def test_a_finished_stage_is_not_trained_again(tmp_path):
    calls = []

    def train():
        calls.append(1)
        return build_vae(), [{"iteration": 1}]

    recipe = VaeRecipe()
    first, _ = trained_once(AutoencoderKL, tmp_path, {"vae": recipe}, train)
    second, log = trained_once(AutoencoderKL, tmp_path, {"vae": recipe}, train)
    assert len(calls) == 1
    assert log == [{"iteration": 1}]
    assert_same_weights(first, second)
    trained_once(AutoencoderKL, tmp_path, {"vae": replace(recipe, seed=1)}, train)
    assert len(calls) == 2


def test_probe_learns_a_linear_code():
    """Features that are the class in a random basis are read without error."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 4, (12, 8, 8)).astype(np.uint8))
    codes = torch.from_numpy(rng.normal(size=(4, 6))).float()
    features = codes[labels.long()].permute(0, 3, 1, 2)
    probe = train_probe(features, labels, ProbeRecipe(iterations=150, learning_rate=0.05))
    matrix = confusion(probe, features, labels)
    assert matrix.sum() == labels.numel()
    assert mean_iou(matrix) == 100


def test_mean_iou_leaves_absent_classes_out():
    matrix = np.zeros((19, 19), int)
    matrix[0, 0], matrix[0, 1], matrix[1, 1] = 3, 1, 4
    assert mean_iou(matrix) == pytest.approx(100 * (3 / 4 + 4 / 5) / 2)
