"""The miniature models load through the full-size models' loaders and mean the same things."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from benchmarks.paper.training.clip_training import ClipRecipe
from benchmarks.paper.training.controlnet_training import ControlnetRecipe
from benchmarks.paper.training.sampling import (
    domain_prompts,
    judged_domains,
    open_pipeline,
    sample_pictures,
)
from benchmarks.paper.training.unet_training import UnetRecipe
from benchmarks.paper.training.vae_training import DecoderRecipe, VaeRecipe
from mmseg_domino.domain.prompts import load_prompt_bank
from mmseg_domino.models.backbones import DominoVPD
from mmseg_domino.synthesis.colours import class_colours, control_image
from mmseg_domino.synthesis.diffusion import ControlNetGenerator
from mmseg_domino.synthesis.generators import Request
from street_world.cards import FOLDERS, TRAINED_FOLDER
from street_world.frames import FrameRecipe
from street_world.models import CONTEXT_CHANNELS, build_mini_models, load_trained_clip
from street_world.street import CLASSES, DOMAINS, build, render, sample_scene
from street_world.tokenizer import train_vocabulary


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return build_mini_models(tmp_path_factory.mktemp("models"), seed=3)


@pytest.fixture(scope="module")
def clip(folders):
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folders['clip']}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folders['clip']}")
    return model.eval(), preprocess, tokenizer


def test_same_seed_same_bytes(folders, tmp_path):
    again = build_mini_models(tmp_path, seed=3)
    for name, folder in folders.items():
        files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        assert len(files) >= 3
        for file in files:
            assert (folder / file).read_bytes() == (again[name] / file).read_bytes(), file


def test_present_models_are_left_alone(folders):
    before = {path: path.stat().st_mtime_ns for path in folders["sd"].rglob("*")}
    build_mini_models(folders["sd"].parent, seed=3)
    assert before == {path: path.stat().st_mtime_ns for path in folders["sd"].rglob("*")}


def test_random_state_is_left_alone(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    build_mini_models(tmp_path)
    assert torch.equal(torch.rand(1), expected)


def sha256(name, *parts):
    path = TRAINED_FOLDER.joinpath(FOLDERS[name], *parts)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_cards_are_of_the_weights_that_are_shipped(folders):
    cards = {
        name: json.loads((folder / "model_card.json").read_text())
        for name, folder in folders.items()
    }
    for card in cards.values():
        assert card["weights"] == "trained on the procedural street world"
        assert {"recipe", "command", "log", "results"} <= card.keys()
    weights = "diffusion_pytorch_model.safetensors"
    assert cards["clip"]["sha256"] == sha256("clip", "open_clip_model.safetensors")
    for part in ("vae", "unet"):
        assert cards["sd"]["sha256"][part] == sha256("sd", part, weights)
    assert cards["controlnet"]["sha256"] == sha256("controlnet", weights)
    # Each was trained with the one before it, as it is shipped.
    assert cards["sd"]["clip_sha256"] == cards["clip"]["sha256"]
    assert cards["controlnet"]["sd_sha256"] == cards["sd"]["sha256"]
    assert cards["clip"]["results"]["zero_shot_domain_accuracy_percent"]["mean"] >= 95


def test_recipes_in_the_cards_are_those_of_the_code():
    """The card's command, run today, trains what the card describes."""
    recipes = {
        "clip": ClipRecipe(),
        "sd": {"vae": VaeRecipe(), "decoder": DecoderRecipe(), "unet": UnetRecipe()},
        "controlnet": {"frames": FrameRecipe(), "controlnet": ControlnetRecipe()},
    }
    for name, recipe in recipes.items():
        card = json.loads((TRAINED_FOLDER / FOLDERS[name] / "model_card.json").read_text())
        as_dict = (
            {key: asdict(part) for key, part in recipe.items()}
            if isinstance(recipe, dict)
            else asdict(recipe)
        )
        assert card["recipe"] == json.loads(json.dumps(as_dict)), name


def test_random_models_say_so_and_share_the_text_tower(folders, tmp_path):
    random = build_mini_models(tmp_path, seed=3, trained=False)
    card = json.loads((random["sd"] / "model_card.json").read_text())
    assert card["weights"].startswith("randomly initialised")
    assert card["seed"] == 3
    tower = Path("text_encoder", "model.safetensors")
    assert (random["sd"] / tower).read_bytes() == (folders["sd"] / tower).read_bytes()
    unet = Path("unet", "diffusion_pytorch_model.safetensors")
    assert (random["sd"] / unet).read_bytes() != (folders["sd"] / unet).read_bytes()
    # Trained ones replace them in the same folder.
    build_mini_models(tmp_path, seed=3)
    assert (random["sd"] / unet).read_bytes() == (folders["sd"] / unet).read_bytes()


def test_written_weights_are_the_shipped_ones(folders):
    name = Path("unet", "diffusion_pytorch_model.safetensors")
    written, shipped = load_file(folders["sd"] / name), load_file(TRAINED_FOLDER / "mini-sd" / name)
    assert written.keys() == shipped.keys()
    for key, value in written.items():
        assert shipped[key].dtype == torch.float16
        assert torch.equal(value, shipped[key].float()), key


def test_latents_are_normalised_for_vpd(folders):
    """Mean 0, deviation 1: what the UNet was trained on is what VPD feeds it, unscaled."""
    vae = AutoencoderKL.from_pretrained(folders["sd"] / "vae").eval()
    assert vae.config.scaling_factor == 1.0
    images = [
        render(sample_scene(970_000_000 + seed, (128, 256)), domain, 0.8).image
        for seed in range(2)
        for domain in DOMAINS
    ]
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        posterior = vae.encode(batch).latent_dist
        rebuilt = vae.decode(posterior.mode()).sample
    assert posterior.mode().mean((0, 2, 3)).abs().max() < 0.5
    assert posterior.mode().std((0, 2, 3)).log().abs().max() < np.log(1.6)
    assert (rebuilt - batch).pow(2).mean() < 0.1 * batch.var()


def test_vpd_reads_the_mini_sd(folders):
    backbone = DominoVPD(str(folders["sd"]), dict(names=("road", "car", "sky"), cache=None)).eval()
    images = torch.zeros(1, 3, 128, 256)
    domain = torch.zeros(1, CONTEXT_CHANNELS)
    with torch.no_grad():
        levels = backbone(images, domain)
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 32), (8, 16), (4, 8), (2, 4)]
    assert all(level.isfinite().all() for level in levels)


def test_samples_are_of_the_domain_that_is_asked_for(folders):
    """Wide bound: by the mini-CLIP's judgement; chance is 20 percent."""
    prompts = domain_prompts("acdc", 2)
    pictures = sample_pictures(open_pipeline(folders["sd"]), prompts, steps=8, guidance=2.0)
    assert pictures.shape == (10, 128, 256, 3)
    assert judged_domains(load_trained_clip(), pictures, "acdc")["mean"] >= 50
    night, snow = pictures[4:6], pictures[8:10]
    assert night.mean() < 70 < snow.mean()


def test_control_steers_the_pictures(folders):
    """Sky of the label map is bright, road is dark; the same seed with the map turned over."""
    generator = ControlNetGenerator(
        model=str(folders["sd"]), controlnet=str(folders["controlnet"]), size=(128, 256),
        steps=10, guidance_scale=3.0, precision="fp32", device="cpu",
    )  # fmt: skip
    label = np.zeros((128, 256), np.uint8)
    label[:60] = CLASSES.index("sky")
    label[60:, 128:] = CLASSES.index("vegetation")
    colours = class_colours(CLASSES)

    def picture(label):
        request = Request(
            name="x", domain="clear_day", image=np.zeros((*label.shape, 3), np.uint8),
            label=label, classes=CLASSES, control=control_image(label, colours),
            prompt="a street on a clear day", negative_prompt="", seed=1,
        )  # fmt: skip
        return generator.generate([request])[0].image.astype(float).mean(2)

    there, mirrored = picture(label), picture(label[:, ::-1].copy())
    assert there[:50].mean() > there[70:].mean() + 20
    left, right = np.s_[70:, :120], np.s_[70:, 136:]
    assert there[right].mean() - there[left].mean() < mirrored[right].mean() - mirrored[left].mean()


def test_trained_clip_knows_the_domains_of_unseen_scenes(clip):
    """The shipped weights through open_clip's own tokenizer and preprocessing."""
    model, preprocess, tokenize = clip
    bank = load_prompt_bank("acdc")
    pictures, truth = [], []
    for seed in range(950_000_000, 950_000_008):
        scene = sample_scene(seed)
        geometry = build(scene)
        for index, domain in enumerate(DOMAINS):
            image = render(scene, domain, 0.8, geometry).image
            pictures.append(preprocess(Image.fromarray(image)))
            truth.append(index)
    with torch.no_grad():
        text = torch.stack(
            [
                model.encode_text(tokenize(list(domain.prompts)), normalize=True).mean(0)
                for domain in bank.domains
            ]
        )
        image = model.encode_image(torch.stack(pictures), normalize=True)
    best = (image @ torch.nn.functional.normalize(text, dim=1).T).argmax(1)
    assert (best == torch.tensor(truth)).float().mean() >= 0.9


def test_shipped_configs_name_no_folder():
    configs = list(TRAINED_FOLDER.rglob("*config.json"))
    assert len(configs) >= 4
    for path in configs:
        assert "_name_or_path" not in json.loads(path.read_text()), path


def test_shipped_weights_are_small():
    size = sum(path.stat().st_size for path in TRAINED_FOLDER.rglob("*") if path.is_file())
    assert size <= 12e6


def test_text_encoder_is_the_clips_text_tower(folders, clip):
    """open_clip and transformers compute the same context from the same words."""
    model, _, tokenize = clip
    texts = ["a photo taken in dense fog", "night", "zebra xylophone 42"]
    encoder = CLIPTextModel.from_pretrained(folders["sd"] / "text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(folders["sd"] / "tokenizer")
    tokens = tokenizer(texts, padding="max_length", return_tensors="pt").input_ids
    assert torch.equal(tokens, tokenize(texts))
    with torch.no_grad():
        pooled = encoder(tokens).pooler_output
        expected = model.encode_text(tokens)
    assert pooled.shape == (3, CONTEXT_CHANNELS)
    torch.testing.assert_close(pooled @ model.text_projection, expected, rtol=1e-4, atol=1e-5)


def test_unet_takes_the_text_encoders_context(folders):
    unet = UNet2DConditionModel.from_pretrained(folders["sd"] / "unet").eval()
    vae = AutoencoderKL.from_pretrained(folders["sd"] / "vae").eval()
    assert unet.config.cross_attention_dim == CONTEXT_CHANNELS
    with torch.no_grad():
        latent = vae.encode(torch.zeros(1, 3, 64, 128)).latent_dist.mode()
        assert latent.shape == (1, 4, 8, 16)
        assert unet(latent, 1, torch.zeros(1, 19, CONTEXT_CHANNELS)).sample.shape == latent.shape


def test_clip_preprocesses_to_its_input_size(clip):
    model, preprocess, _ = clip
    image = preprocess(Image.fromarray(np.zeros((256, 512, 3), np.uint8)))
    assert model.encode_image(image[None]).shape == (1, 64)


def test_vocabulary_merges_the_commonest_pair_first():
    tokens, merges = train_vocabulary(["aab aab", "ab"], num_merges=2)
    assert merges == ["a b</w>", "a ab</w>"]
    assert tokens[-4:] == ["ab</w>", "aab</w>", "<|startoftext|>", "<|endoftext|>"]
    assert len(set(tokens)) == len(tokens) == 512 + 2 + 2
