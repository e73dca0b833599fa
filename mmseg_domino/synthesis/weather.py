"""The classical generator: fog, night, rain and snow on the real image, from depth and label."""

from collections.abc import Sequence

import numpy as np

from ..weather import DOMAINS, DepthFiles, Ranges, Scene, describe_view, draw_weather
from .generators import GENERATORS, Generated, Request


@GENERATORS.register_module()
class ClassicalWeather:
    """Puts weather on the real image with no model at all; deterministic by the request's seed.

    Args:
        depth: Arguments of :class:`~mmseg_domino.weather.DepthFiles`; ``None`` for a plane through
            the labels' road, see :func:`~mmseg_domino.weather.plane_depth`.
        **ranges: What the weather is drawn from, see :class:`~mmseg_domino.weather.Ranges`:
            ``visibility``, ``strength``, ``exposure``, ``linear_fog``.

    Raises:
        ValueError: If a range is not one.
    """

    reads_prompt = False

    def __init__(self, depth: dict | None = None, **ranges: tuple[float, float] | bool) -> None:
        self.depth = None if depth is None else DepthFiles(**depth)
        self.ranges = Ranges(**ranges)

    def check_domains(self, domains: Sequence[str]) -> None:
        unknown = [domain for domain in domains if domain not in DOMAINS]
        if unknown:
            raise ValueError(
                f"ClassicalWeather makes {', '.join(DOMAINS)}, not {', '.join(unknown)}"
            )

    def describe(self) -> dict:
        depth = {"kind": "plane"} if self.depth is None else self.depth.describe()
        return {"type": "ClassicalWeather", "version": 2, **self.ranges.describe(), "depth": depth}

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Generated:
        try:
            depth = None if self.depth is None else self.depth.read(request.name)
            view = describe_view(request.image, request.label, request.classes, depth)
        except (OSError, ValueError) as error:
            return Generated(None, str(error))
        weather = draw_weather(request.domain, self.ranges, np.random.default_rng(request.seed))
        scene = Scene.of_image(request.image, request.label, request.classes, view)
        drawn = {name: round(value, 4) for name, value in weather.parameters.items()}
        drawn["depth"] = "file" if view.measured else "plane"
        return Generated(weather.put_on(scene), parameters=drawn)
