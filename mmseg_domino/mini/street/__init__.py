"""The procedural street world: ``sample_scene(seed)``, then ``render(scene, domain)``."""

from mmseg_domino.mini.street.build import build
from mmseg_domino.mini.street.classes import CLASSES, IGNORE, LABEL_IDS, PALETTE
from mmseg_domino.mini.street.conditions import DOMAINS, HELD_OUT_DOMAINS
from mmseg_domino.mini.street.render import Rendering, render
from mmseg_domino.mini.street.scene import StreetScene, sample_scene

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
