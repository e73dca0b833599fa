"""A CLIP model small enough for tests, in open_clip's folder format, with random weights."""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32,
            "layers": 2,
            "width": 32,
            "patch_size": 8,
            "head_width": 8,
        },
        "text_cfg": {
            "context_length": 32,
            "vocab_size": 49408,
            "width": 24,
            "heads": 4,
            "layers": 2,
        },
    },
    "preprocess_cfg": {
        "mean": list(open_clip.OPENAI_DATASET_MEAN),
        "std": list(open_clip.OPENAI_DATASET_STD),
    },
}


def write_tiny_clip(folder: Path, seed: int = 0) -> Path:
    """Write a model of 1.3 M parameters (most of them the vocabulary) and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        # At initialisation all images look alike to the tower; spread them.
        for parameter in model.visual.parameters():
            parameter.data.mul_(3)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder
