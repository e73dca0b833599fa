"""The embedded default: a procedural street world and miniature foundation models.

Importing this is cheap; the models are in ``mmseg_domino.mini.models``, which imports diffusers
and open_clip.
"""

from mmseg_domino.mini.prepare import prepare
from mmseg_domino.mini.street import Rendering, StreetScene, render, sample_scene
from mmseg_domino.mini.trees import write_street_world

__all__ = [
    "Rendering",
    "StreetScene",
    "prepare",
    "render",
    "sample_scene",
    "write_street_world",
]
