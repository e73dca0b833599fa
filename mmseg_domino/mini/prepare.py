"""Make what the embedded default needs, once."""

import json
import os
import time
from pathlib import Path

from mmseg_domino.mini.trees import MANIFEST, write_street_world

__all__ = ["prepare"]


def prepare(
    root: str | os.PathLike = "data/mini",
    train: int = 160,
    val: int = 24,
    size: tuple[int, int] = (256, 512),
    seed: int = 0,
    workers: int | None = None,
) -> dict[str, Path]:
    """Write the street world and the miniature models below ``root``, if absent, and say so.

    Args:
        root: Folder to use; see ``write_street_world`` for the other arguments.

    Returns:
        Folders by what they hold: ``cityscapes``, ``acdc``, ``held_out``, ``clip``, ``sd``.
    """
    from mmseg_domino.mini.models import build_mini_models  # imports diffusers and open_clip

    root = Path(root)
    start = time.perf_counter()
    print(f"street world and miniature models in {root} ...", flush=True)
    write_street_world(root, train, val, size, seed, workers)
    folders = build_mini_models(root / "models", seed=0)
    weights = " and ".join(f"{folder.name}: {describe(folder)}" for folder in folders.values())
    print(
        f"ready after {time.perf_counter() - start:.1f} s: {train} clear training scenes and "
        f"{val} validation scenes in every domain ({root / MANIFEST}); {weights}",
        flush=True,
    )
    data = {name: root / name for name in ("cityscapes", "acdc", "held_out")}
    return {**data, **folders}


def describe(folder: Path) -> str:
    """What the model card in ``folder`` says of the weights."""
    return json.loads((folder / "model_card.json").read_text())["weights"]
