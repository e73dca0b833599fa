"""Model cards of the miniature models: what their weights are; read without importing them."""

import hashlib
import json
from pathlib import Path

from street_world.files import atomic_write
from street_world.tokenizer import TOKENIZER_FOLDER
from street_world.version import __version__

FOLDERS = {"clip": "mini-clip", "sd": "mini-sd", "controlnet": "mini-controlnet"}
TRAINED_FOLDER = Path(__file__).parent / "weights"
_FORMAT = 3  # raise it when an older folder must be rebuilt


def expected_cards(seed: int, trained: bool = True) -> dict[str, dict]:
    """The cards of the models that ``build_mini_models`` writes, by model.

    Args:
        seed: Of random weights; trained ones are what comes with the package, whatever the seed.
        trained: Whether the diffusion models are the trained ones. The CLIP always is. There is
            no random ControlNet: it would be none.
    """
    cards = {key: read_card(TRAINED_FOLDER / name) for key, name in FOLDERS.items()}
    if trained:
        return {key: card for key, card in cards.items() if card is not None}
    vocabulary = (TOKENIZER_FOLDER / "vocab.json").read_bytes()
    random = {
        "format": f"street_world/{_FORMAT}",
        "weights": "randomly initialised, text encoder of the trained mini-clip",
        "seed": seed,
        "vocabulary": hashlib.sha256(vocabulary).hexdigest(),
        "version": __version__,
        "clip_sha256": cards["clip"]["sha256"],
    }
    return {"clip": cards["clip"], "sd": random}


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_card(folder: Path) -> dict | None:
    """The card in ``folder``; None if there is none: the folder was not finished."""
    path = folder / "model_card.json"
    return json.loads(path.read_text()) if path.is_file() else None


def write_card(folder: Path, card: dict) -> None:
    """Write the card that says that ``folder`` is finished."""
    with atomic_write(folder / "model_card.json") as path:
        path.write_text(json.dumps(card, indent=1) + "\n")


def are_present(root: Path, seed: int, trained: bool = True) -> bool:
    """Whether the models are complete below ``root``."""
    cards = expected_cards(seed, trained)
    return all(read_card(root / FOLDERS[key]) == card for key, card in cards.items())
