"""The miniature models load through the full-size models' loaders and mean the same things."""

import hashlib
import json

import numpy as np
import open_clip
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from mmseg_domino.domain.prompts import load_prompt_bank
from mmseg_domino.mini.cards import FOLDERS, TRAINED_FOLDER
from mmseg_domino.mini.models import CONTEXT_CHANNELS, build_mini_models
from mmseg_domino.mini.street import DOMAINS, build, render, sample_scene
from mmseg_domino.mini.tokenizer import train_vocabulary


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


def test_cards_say_what_the_weights_are(folders):
    """The UNet is random and says so; the CLIP is what its card's checksum and results are of."""
    card = json.loads((folders["sd"] / "model_card.json").read_text())
    assert card["weights"].startswith("randomly initialised")
    assert card["seed"] == 3
    shipped = TRAINED_FOLDER / FOLDERS["clip"]
    card = json.loads((folders["clip"] / "model_card.json").read_text())
    weights = (shipped / "open_clip_model.safetensors").read_bytes()
    assert card["sha256"] == hashlib.sha256(weights).hexdigest()
    assert card["results"]["zero_shot_domain_accuracy_percent"]["mean"] >= 95


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
