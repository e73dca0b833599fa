"""An untrained twin of a miniature model, to be compared with it."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

__all__ = ["write_random_twin"]

_CARD = "model_card.json"


def write_random_twin(folder: Path, twin: Path, seed: int = 0) -> None:
    """A diffusion model's twin with random UNet and autoencoder, all else the same.

    Beside the model itself it shows what the training of the two is worth. Written once; again if
    the model has changed.

    Args:
        folder: In diffusers' format, with a ``model_card.json``.
        twin: Folder to write.
        seed: Of the random weights.
    """
    card = json.loads((folder / _CARD).read_text())
    wanted = {"weights": "randomly initialised twin", "seed": seed, "of": card}
    if (twin / _CARD).is_file() and json.loads((twin / _CARD).read_text()) == wanted:
        return
    shutil.rmtree(twin, ignore_errors=True)
    shutil.copytree(folder, twin, ignore=shutil.ignore_patterns("unet", "vae", _CARD))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, kind in (("vae", AutoencoderKL), ("unet", UNet2DConditionModel)):
            kind.from_config(kind.load_config(folder / name)).save_pretrained(twin / name)
    (twin / _CARD).write_text(json.dumps(wanted, indent=1) + "\n")
