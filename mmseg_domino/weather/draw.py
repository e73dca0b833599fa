"""Which weather, and how much of it: drawn from ranges, then put on a scene."""

from dataclasses import asdict, dataclass

import numpy as np

from .night import night
from .rules import fog, rain, snow
from .scene import Scene

DOMAINS = ("fog", "night", "rain", "snow")


@dataclass(frozen=True)
class Ranges:
    """What the weather's amount is drawn from.

    Attributes:
        visibility: Metres of fog's meteorological visibility, drawn evenly on a logarithmic scale.
            75 to 300 m is beta 0.04 to 0.01.
        strength: Of rain and snow, 0 to 1.
        exposure: Mean grey level of nights, 0 to 255.
        linear_fog: See :func:`~mmseg_domino.weather.fog`.

    Raises:
        ValueError: If a range is not ascending or has impossible values.
    """

    visibility: tuple[float, float] = (75.0, 300.0)
    strength: tuple[float, float] = (0.3, 0.9)
    exposure: tuple[float, float] = (28.0, 52.0)
    linear_fog: bool = False

    def __post_init__(self) -> None:
        limits = {"visibility": (1, np.inf), "strength": (0, 1), "exposure": (4, 200)}
        for name, (low, high) in limits.items():
            given = tuple(getattr(self, name))
            if len(given) != 2 or not low <= given[0] <= given[1] <= high:
                raise ValueError(
                    f"{name} must be a range (low, high) within [{low}, {high}], got {given}"
                )

    def describe(self) -> dict:
        """As JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Weather:
    """A domain and its amount.

    Attributes:
        domain: One of :data:`DOMAINS`.
        parameters: What was drawn: ``visibility`` in metres, ``strength`` or ``exposure``.
        seed: Of all else that is random in it.
        linear_fog: As in :class:`Ranges`.
    """

    domain: str
    parameters: dict[str, float]
    seed: int
    linear_fog: bool = False

    def put_on(self, scene: Scene) -> np.ndarray:
        """The scene in this weather, ``(H, W, 3)`` uint8: the same each time."""
        rng = np.random.default_rng(self.seed)
        if self.domain == "fog":
            return fog(scene, **self.parameters, linear=self.linear_fog)
        make = {"night": night, "rain": rain, "snow": snow}[self.domain]
        return make(scene, **self.parameters, rng=rng)


def draw_weather(domain: str, ranges: Ranges, rng: np.random.Generator) -> Weather:
    """Draw how much of a weather there is.

    Raises:
        ValueError: If the domain is none of these.
    """
    if domain not in DOMAINS:
        raise ValueError(f"weather by rule makes {', '.join(DOMAINS)}, not {domain}")
    name = {"fog": "visibility", "night": "exposure"}.get(domain, "strength")
    low, high = getattr(ranges, name)
    if name == "visibility":
        value = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    else:
        value = float(rng.uniform(low, high))
    return Weather(domain, {name: value}, int(rng.integers(2**31)), ranges.linear_fog)
