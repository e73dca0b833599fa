"""Weather on photographs by rule: fog, night, rain and snow from depth and label, with no model.

Used where images are made ahead (``synthesis``) and on the fly in training
(``datasets.transforms.DrawWeather``).
"""

from .depth import Camera, DepthFiles, plane_depth
from .draw import DOMAINS, Ranges, Weather, draw_weather
from .night import night
from .rules import fog, rain, snow
from .scene import Scene, View, describe_view

__all__ = [
    "DOMAINS",
    "Camera",
    "DepthFiles",
    "Ranges",
    "Scene",
    "View",
    "Weather",
    "describe_view",
    "draw_weather",
    "fog",
    "night",
    "plane_depth",
    "rain",
    "snow",
]
