"""The procedural street world: ``sample_scene(seed)``, then ``render(scene, domain)``."""

from street_world.street.build import build
from street_world.street.classes import CLASSES, IGNORE, LABEL_IDS, PALETTE
from street_world.street.conditions import DOMAINS, HELD_OUT_DOMAINS
from street_world.street.render import Rendering, render
from street_world.street.scene import StreetScene, sample_scene

__all__ = [
    "CLASSES",
    "DOMAINS",
    "HELD_OUT_DOMAINS",
    "IGNORE",
    "LABEL_IDS",
    "PALETTE",
    "Rendering",
    "StreetScene",
    "build",
    "render",
    "sample_scene",
]
