"""Make what the embedded default needs, once."""

import os
import time
from pathlib import Path

from street_world.cards import FOLDERS, are_present, expected_cards, read_card
from street_world.trees import MANIFEST, write_street_world

_MODEL_SEED = 0


def prepare(
    root: str | os.PathLike = "data/mini",
    train: int = 240,
    val: int = 24,
    size: tuple[int, int] = (128, 256),
    seed: int = 0,
    workers: int | None = None,
    models: bool = True,
) -> dict[str, Path]:
    """Write the street world and the miniature models below ``root``, if absent, and say so.

    Args:
        root: Folder to use; see ``write_street_world`` for the other arguments.
        models: Write the models, too.

    Returns:
        Folders by what they hold: ``cityscapes``, ``acdc``, ``held_out``, and of the models
        ``clip``, ``sd``, ``controlnet``.
    """
    root = Path(root)
    start = time.perf_counter()
    print(f"street world{' and miniature models' if models else ''} in {root} ...", flush=True)
    write_street_world(root, train, val, size, seed, workers)
    folders = _prepare_models(root / "models") if models else {}
    made = [f"{folder.name}: {read_card(folder)['weights']}" for folder in folders.values()]
    print(
        f"ready after {time.perf_counter() - start:.1f} s: {train} clear training scenes and "
        f"{val} validation scenes in every domain ({root / MANIFEST})",
        *made,
        sep="; ",
        flush=True,
    )
    data = {name: root / name for name in ("cityscapes", "acdc", "held_out")}
    return {**data, **folders}


def _prepare_models(root: Path) -> dict[str, Path]:
    if not are_present(root, _MODEL_SEED):
        # Imports diffusers and open_clip, which takes seconds: only when there is work for them.
        from street_world.models import build_mini_models

        build_mini_models(root, _MODEL_SEED)
    return {key: root / FOLDERS[key] for key in expected_cards(_MODEL_SEED)}
