"""Make what the embedded default needs, once."""

import os
import time
from pathlib import Path

from street_world.cards import FOLDERS, are_present, expected_cards, read_card
from street_world.trees import MANIFEST, write_street_world

__all__ = ["prepare"]

_MODEL_SEED = 0


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
        Folders by what they hold: ``cityscapes``, ``acdc``, ``held_out``, ``clip``, ``sd``,
        ``controlnet``.
    """
    root = Path(root)
    models = root / "models"
    folders = {key: models / FOLDERS[key] for key in expected_cards(_MODEL_SEED)}
    start = time.perf_counter()
    print(f"street world and miniature models in {root} ...", flush=True)
    write_street_world(root, train, val, size, seed, workers)
    if not are_present(models, _MODEL_SEED):
        # Imports diffusers and open_clip, which takes seconds: only when there is work for them.
        from street_world.models import build_mini_models

        build_mini_models(models, _MODEL_SEED)
    weights = " and ".join(
        f"{folder.name}: {read_card(folder)['weights']}" for folder in folders.values()
    )
    print(
        f"ready after {time.perf_counter() - start:.1f} s: {train} clear training scenes and "
        f"{val} validation scenes in every domain ({root / MANIFEST}); {weights}",
        flush=True,
    )
    data = {name: root / name for name in ("cityscapes", "acdc", "held_out")}
    return {**data, **folders}
