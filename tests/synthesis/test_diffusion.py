import numpy as np
import pytest
import torch

from mmseg_domino.domain import MissingWeightsError
from mmseg_domino.synthesis import Generator, Request, build_generator
from mmseg_domino.synthesis.colours import class_colours, control_image
from mmseg_domino.synthesis.diffusion import ControlNetGenerator

from .scenes import scene
from .test_weather import CLASSES

COLOURS = class_colours(CLASSES)
SMALL = dict(size=(64, 128), steps=2, precision="fp32", device="cpu")


def request(number=0, seed=3, prompt="a street in fog"):
    image, label = scene(number)
    control = control_image(label, COLOURS)
    return Request("a", "fog", image, label, CLASSES, control, prompt, "blurry", seed)


@pytest.fixture(scope="module", params=["text", "image"])
def generator(request, pipeline_folders):
    options = dict(type="ControlNetGenerator", mode=request.param, **SMALL, **pipeline_folders)
    return build_generator(options)


def test_it_is_a_generator(generator):
    assert isinstance(generator, Generator)
    described = generator.describe()
    assert described["model"].endswith("mini-sd")
    assert len(described["weights_sha256"]) == 64
    assert ("strength" in described) == (generator.mode == "image")
    generator.check_domains(["anything"])


def test_an_image_depends_on_its_request_and_not_on_its_batch(generator):
    first, second = generator.generate([request(0, 3), request(1, 4)])
    alone = generator.generate([request(1, 4)])[0]
    assert first.image.shape == (64, 128, 3)
    assert first.image.dtype == np.uint8
    assert first.problem is None
    # Other batch sizes round differently in the last bit of a level.
    assert np.abs(second.image.astype(int) - alone.image).max() <= 1


@pytest.mark.parametrize("changed", [dict(seed=4), dict(number=1), dict(prompt="night")])
def test_seed_label_and_prompt_matter(generator, changed):
    same = generator.generate([request()])[0].image
    assert np.array_equal(same, generator.generate([request()])[0].image)
    assert not np.array_equal(same, generator.generate([request(**changed)])[0].image)


def test_nan_is_reported_and_not_shown(generator):
    weight = generator.pipeline.vae.decoder.conv_out.bias
    with torch.no_grad():
        kept = weight.clone()
        weight[0] = float("nan")
        result = generator.generate([request()])[0]
        weight.copy_(kept)
    assert "NaN" in result.problem
    assert "33.3 %" in result.problem
    assert result.image[..., 0].max() == 0


def test_the_safety_checkers_veto_is_reported(generator, monkeypatch):
    class Veto(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32

        def forward(self, images, clip_input):
            return images * 0, [True] * len(images)

    class Features:
        def __call__(self, images, return_tensors):
            class Batch(dict):
                pixel_values = torch.zeros(len(images), 3, 8, 8)

                def to(self, device):
                    return self

            return Batch()

    monkeypatch.setattr(generator.pipeline, "safety_checker", Veto())
    monkeypatch.setattr(generator.pipeline, "feature_extractor", Features())
    result = generator.generate([request()])[0]
    assert "safety checker" in result.problem
    assert result.image.max() == 0
    assert generator.describe()["safety_checker"] is True


def test_memory_savers_and_low_precision(pipeline_folders):
    plain = ControlNetGenerator(**SMALL, **pipeline_folders)
    sliced = ControlNetGenerator(**SMALL, **pipeline_folders, attention_slicing=True)
    difference = plain.generate([request()])[0].image.astype(int)
    difference -= sliced.generate([request()])[0].image
    assert np.abs(difference).max() <= 1
    pytest.importorskip("accelerate")
    offloaded = ControlNetGenerator(**SMALL, **pipeline_folders, cpu_offload=True)
    assert len(offloaded.pipeline._all_hooks) == 4  # text encoder, UNet, VAE, ControlNet
    assert np.array_equal(
        offloaded.generate([request()])[0].image, plain.generate([request()])[0].image
    )
    low = ControlNetGenerator(**{**SMALL, "precision": "bf16"}, **pipeline_folders)
    assert low.pipeline.unet.dtype == torch.bfloat16
    assert low.generate([request()])[0].problem is None
    # The hash is of the weights in use: another precision is another model.
    assert low.describe()["weights_sha256"] != plain.describe()["weights_sha256"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (dict(mode="video"), "mode must be one of text, image"),
        (dict(precision="int8"), "precision must be one of"),
        (dict(scheduler="euler"), "scheduler must be one of"),
        (dict(size=(100, 128)), "multiples of 8"),
        (dict(size=(64,)), "multiples of 8"),
        (dict(mode="image", strength=0.0), "strength must be above 0"),
        (dict(mode="image", strength=0.1, steps=5), "strength must be above 0"),
    ],
)
def test_arguments_are_checked_before_anything_is_loaded(wrong, words):
    with pytest.raises(ValueError, match=words):
        ControlNetGenerator(model="none", controlnet="none", **wrong)


def test_offloading_without_accelerate_says_what_to_install(pipeline_folders, monkeypatch):
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.is_accelerate_available", lambda: False)
    with pytest.raises(ImportError, match="pip install accelerate"):
        ControlNetGenerator(**SMALL, **pipeline_folders, cpu_offload=True)


def test_missing_weights_say_how_to_fetch_them(pipeline_folders, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingWeightsError, match="hf download some/controlnet --local-dir"):
        ControlNetGenerator(model=pipeline_folders["model"], controlnet="some/controlnet", **SMALL)
    with pytest.raises(MissingWeightsError, match="no complete diffusers folder"):
        ControlNetGenerator(model=str(tmp_path), controlnet=pipeline_folders["controlnet"], **SMALL)


def test_the_true_size_pipeline_has_the_published_shapes():
    """Built without memory: names of the parts, their sizes, and one step at 512 x 1024."""
    from diffusers import (
        AutoencoderKL,
        ControlNetModel,
        DDIMScheduler,
        StableDiffusionControlNetPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        controlnet = ControlNetModel(cross_attention_dim=768, attention_head_dim=8)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
        text = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=768,
                intermediate_size=3072,
                num_hidden_layers=12,
                num_attention_heads=12,
            )
        )
    sizes = {
        name: sum(p.numel() for p in part.parameters())
        for name, part in dict(unet=unet, controlnet=controlnet, vae=vae, text=text).items()
    }
    assert sizes == {
        "unet": 859_520_964,
        "controlnet": 361_279_120,
        "vae": 83_653_863,
        "text": 123_060_480,
    }
    pipeline = StableDiffusionControlNetPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=None,
        unet=unet,
        controlnet=controlnet,
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    latent = torch.zeros(2, 4, 64, 128, device="meta")
    context = torch.zeros(2, 77, 768, device="meta")
    control = torch.zeros(2, 3, 512, 1024, device="meta")
    step = torch.ones(2, device="meta")
    down, middle = pipeline.controlnet(latent, step, context, control, return_dict=False)
    noise = pipeline.unet(
        latent,
        step,
        context,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
    ).sample
    assert noise.shape == latent.shape
    assert pipeline.vae.decode(latent).sample.shape == (2, 3, 512, 1024)
