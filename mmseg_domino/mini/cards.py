"""Model cards of the miniature models: what their weights are; read without importing them."""

import hashlib
import json
from pathlib import Path

from mmseg_domino.mini.tokenizer import TOKENIZER_FOLDER
from mmseg_domino.version import __version__

__all__ = ["FOLDERS", "TRAINED_FOLDER", "are_present", "expected_cards", "read_card"]

FOLDERS = {"clip": "mini-clip", "sd": "mini-sd"}
TRAINED_FOLDER = Path(__file__).parent / "weights"
_FORMAT = 2  # raise it when an older folder must be rebuilt


def expected_cards(seed: int) -> dict[str, dict]:
    """The cards of the models that ``build_mini_models`` writes from ``seed``, by model.

    A model whose trained weights come with the package is those weights, whatever the seed.
    """
    vocabulary = (TOKENIZER_FOLDER / "vocab.json").read_bytes()
    random = {
        "format": f"mmseg_domino.mini/{_FORMAT}",
        "weights": "randomly initialised",
        "seed": seed,
        "vocabulary": hashlib.sha256(vocabulary).hexdigest(),
        "version": __version__,
    }
    clip = read_card(TRAINED_FOLDER / FOLDERS["clip"])
    if clip is None:
        return {"clip": random, "sd": random}
    weights = "randomly initialised, text encoder of the trained mini-clip"
    return {"clip": clip, "sd": {**random, "weights": weights, "clip_sha256": clip["sha256"]}}


def read_card(folder: Path) -> dict | None:
    """The card in ``folder``; None if there is none: the folder was not finished."""
    path = folder / "model_card.json"
    return json.loads(path.read_text()) if path.is_file() else None


def are_present(root: Path, seed: int) -> bool:
    """Whether the models of ``seed`` are complete below ``root``."""
    cards = expected_cards(seed)
    return all(read_card(root / name) == cards[key] for key, name in FOLDERS.items())
