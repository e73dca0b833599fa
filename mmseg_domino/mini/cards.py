"""Model cards of the miniature models: what their weights are; read without importing them."""

import hashlib
import json
from pathlib import Path

from mmseg_domino.mini.tokenizer import TOKENIZER_FOLDER
from mmseg_domino.version import __version__

__all__ = ["FOLDERS", "are_present", "random_card", "read_card"]

FOLDERS = {"clip": "mini-clip", "sd": "mini-sd"}
_FORMAT = 1  # raise it when an older folder must be rebuilt


def random_card(seed: int) -> dict:
    """The card of models that ``build_mini_models`` writes from ``seed``."""
    vocabulary = (TOKENIZER_FOLDER / "vocab.json").read_bytes()
    return {
        "format": f"mmseg_domino.mini/{_FORMAT}",
        "weights": "randomly initialised",
        "seed": seed,
        "vocabulary": hashlib.sha256(vocabulary).hexdigest(),
        "version": __version__,
    }


def read_card(folder: Path) -> dict | None:
    """The card in ``folder``; None if there is none: the folder was not finished."""
    path = folder / "model_card.json"
    return json.loads(path.read_text()) if path.is_file() else None


def are_present(root: Path, seed: int) -> bool:
    """Whether the models of ``seed`` are complete below ``root``."""
    card = random_card(seed)
    return all(read_card(root / name) == card for name in FOLDERS.values())
