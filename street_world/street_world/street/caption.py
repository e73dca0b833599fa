"""A sentence about an image, from what can be seen in it.

Only what covers enough pixels is named, so a caption is true of the picture, not of the plan.
"""

import numpy as np

from street_world.street.classes import CLASSES
from street_world.street.scene import StreetScene

_WEATHER = {
    "clear_day": "in clear daytime weather",
    "fog": "in fog",
    "night": "at night",
    "rain": "in the rain",
    "snow": "in snow",
    "dusk": "at dusk",
    "low_sun": "in low sun",
    "heavy_rain_night": "on a night of heavy rain",
}
_PHENOMENON = {"fog": "fog", "rain": "rain", "snow": "snow"}
_NAMED = (
    ("person", "people"),
    ("rider", "a rider"),
    ("car", "cars"),
    ("truck", "a truck"),
    ("bus", "a bus"),
    ("train", "a tram"),
    ("motorcycle", "a motorcycle"),
    ("bicycle", "a bicycle"),
    ("building", "buildings"),
    ("vegetation", "trees"),
    ("fence", "a fence"),
    ("wall", "a wall"),
    ("traffic light", "a traffic light"),
    ("traffic sign", "a traffic sign"),
)
_SMALL = {"person", "rider", "motorcycle", "bicycle", "traffic light", "traffic sign"}


def caption(scene: StreetScene, label: np.ndarray, domain: str, strength: float) -> str:
    """Describe the picture.

    Args:
        label: (H, W) training numbers of what is visible.
        domain: The domain it was rendered in.
        strength: Its strength, 0 to 1; below 0.05 it is the clear day.
    """
    share = np.bincount(label.ravel(), minlength=256)[: len(CLASSES)] / label.size
    things = []
    for name, words in _NAMED:
        least = 0.0008 if name in _SMALL else 0.015 if name in ("building", "vegetation") else 0.003
        if share[CLASSES.index(name)] >= least:
            things.append(words)
    if strength < 0.05:
        domain = "clear_day"
    weather = _WEATHER[domain]
    if domain in _PHENOMENON:
        degree = (
            "light " if strength < 0.4 else "dense " if domain == "fog" and strength > 0.8 else ""
        )
        degree = "heavy " if domain != "fog" and strength > 0.8 else degree
        weather = weather.replace(_PHENOMENON[domain], degree + _PHENOMENON[domain])
    article = "an" if scene.layout[0] in "aeiou" else "a"
    start = f"a photo of {article} {scene.layout} {weather}"
    if not things:
        return start
    listed = things[0] if len(things) == 1 else ", ".join(things[:-1]) + " and " + things[-1]
    return f"{start} with {listed}"
