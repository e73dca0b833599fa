"""The embedded default: a procedural street world and miniature foundation models.

Importing this is cheap; the models are in ``street_world.models``, which imports diffusers
and open_clip.
"""

from street_world.prepare import prepare
from street_world.street import Rendering, StreetScene, render, sample_scene
from street_world.trees import write_street_world

__all__ = [
    "Rendering",
    "StreetScene",
    "prepare",
    "render",
    "sample_scene",
    "write_street_world",
]
