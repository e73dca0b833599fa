"""Light and weather of each domain, at a strength between 0 (the clear day) and 1.

A domain is a second set of conditions; strength blends the clear day's into it, quantities that
span orders of magnitude (light, exposure) by their logarithm. So strength 0 is the clear day
exactly, and every effect grows without a jump.

Light is linear, in units in which a white surface in full sun has radiance about 1.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from street_world.street.scene import StreetScene

DOMAINS = ("clear_day", "fog", "night", "rain", "snow")
HELD_OUT_DOMAINS = ("dusk", "low_sun", "heavy_rain_night")

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Conditions:
    """Everything that the weather and the time of day decide.

    Args:
        sun: Colour and strength of direct light.
        azimuth: Sun's direction to the right of the optical axis, radians.
        elevation: Sun's height, radians.
        ambient: Diffuse light from the sky.
        zenith: Radiance of the sky overhead.
        horizon: Radiance of the sky near the horizon.
        cloud: Radiance of clouds.
        cover: Share of the sky that clouds hide, 0 to 1.
        disc: Strength of the sun's glow in the sky.
        beta: Attenuation coefficient of the air in 1/m; visibility is 3 / beta.
        airlight: Radiance of fog at infinite depth.
        wet: Wetness of the ground, 0 to 1.
        rain: Amount of falling rain, 0 to 1.
        drops: Amount of drops on the lens, 0 to 1.
        snow: Snow cover of upward surfaces, 0 to 1.
        flakes: Amount of falling snow, 0 to 1.
        lamps: Street lamps, lit windows and vehicle lights, 0 off to 1.
        beam: Own headlights, 0 off to 1.
        exposure: Factor of the camera.
        noise: Sensor noise relative to the day's.
        bloom: Share of bright light that scatters in the lens.
        saturation: Factor on the look's saturation.
    """

    sun: RGB
    azimuth: float
    elevation: float
    ambient: RGB
    zenith: RGB
    horizon: RGB
    cloud: RGB
    cover: float
    disc: float = 1.0
    beta: float = 0.0009
    airlight: RGB = (0.62, 0.66, 0.72)
    wet: float = 0.0
    rain: float = 0.0
    drops: float = 0.0
    snow: float = 0.0
    flakes: float = 0.0
    lamps: float = 0.0
    beam: float = 0.0
    exposure: float = 1.0
    noise: float = 1.0
    bloom: float = 0.01
    saturation: float = 1.0


_LOGARITHMIC = {
    "sun", "ambient", "zenith", "horizon", "cloud", "beta", "airlight", "exposure", "noise",
}  # fmt: skip


def _clear(scene: StreetScene) -> Conditions:
    sky = scene.sky
    overcast = max(0.0, sky.clouds - 0.45) / 0.55
    sun = (
        np.float64((1.35, 1.24, 1.08))
        * (1 - 0.93 * overcast)
        * (0.75 + 0.3 * np.sin(sky.elevation))
    )
    ambient = np.float64((0.30, 0.33, 0.385)) * (1 + 0.75 * overcast)
    blue = (
        np.float64((0.20, 0.36, 0.68)) * (1 - overcast) + np.float64((0.66, 0.69, 0.72)) * overcast
    )
    pale = (
        np.float64((0.62, 0.72, 0.86)) * (1 - overcast) + np.float64((0.78, 0.79, 0.80)) * overcast
    )
    return Conditions(
        sun=tuple(sun),
        azimuth=sky.azimuth,
        elevation=sky.elevation,
        ambient=tuple(ambient),
        zenith=tuple(blue),
        horizon=tuple(pale),
        cloud=(0.88, 0.89, 0.91),
        cover=min(1.0, 0.15 + 0.95 * sky.clouds),
        disc=1 - overcast,
        airlight=tuple(0.9 * pale),
        exposure=1.0 + 0.45 * overcast,
    )


def _grey(value: float, tint: RGB = (0.97, 1.0, 1.03)) -> RGB:
    return tuple(value * part for part in tint)


def _fog(scene: StreetScene, clear: Conditions) -> Conditions:
    light = _grey(0.66, (0.985, 1.0, 1.01))
    return replace(
        clear, sun=_grey(0.02), ambient=_grey(0.52), zenith=light, horizon=light, cloud=light,
        cover=1.0, disc=0.0, beta=0.045, airlight=light, wet=0.15, exposure=0.85, saturation=0.85,
        bloom=0.04, lamps=0.12,
    )  # fmt: skip


def _rain(scene: StreetScene, clear: Conditions) -> Conditions:
    return replace(
        clear, sun=_grey(0.01), ambient=_grey(0.33), zenith=_grey(0.34), horizon=_grey(0.50),
        cloud=_grey(0.30), cover=1.0, disc=0.0, beta=0.006, airlight=_grey(0.46), wet=1.0, rain=1.0,
        drops=1.0, exposure=1.25, noise=1.6, saturation=0.85, bloom=0.05, lamps=0.14,
    )  # fmt: skip


def _snow(scene: StreetScene, clear: Conditions) -> Conditions:
    return replace(
        clear, sun=_grey(0.03), ambient=_grey(0.66), zenith=_grey(0.62), horizon=_grey(0.78),
        cloud=_grey(0.60), cover=1.0, disc=0.0, beta=0.011, airlight=_grey(0.74), wet=0.35,
        snow=1.0, flakes=1.0, exposure=0.85, noise=1.2, saturation=0.8, bloom=0.03, lamps=0.1,
    )  # fmt: skip


def _night(scene: StreetScene, clear: Conditions) -> Conditions:
    return replace(
        clear, sun=(4e-5, 5e-5, 7e-5), elevation=0.7, ambient=(0.0052, 0.0050, 0.0062),
        zenith=(0.0012, 0.0014, 0.0024), horizon=(0.0048, 0.0038, 0.0034),
        cloud=(0.0034, 0.0027, 0.0025), disc=0.0, beta=0.0012, airlight=(0.004, 0.0034, 0.0034),
        lamps=1.0, beam=1.0, exposure=7.5, noise=7.0, bloom=0.16, saturation=0.95,
    )  # fmt: skip


def _dusk(scene: StreetScene, clear: Conditions) -> Conditions:
    return replace(
        clear, sun=(0.010, 0.006, 0.004), elevation=0.12, ambient=(0.060, 0.062, 0.090),
        zenith=(0.040, 0.062, 0.135), horizon=(0.30, 0.20, 0.17), cloud=(0.16, 0.10, 0.11),
        disc=0.25, airlight=(0.14, 0.11, 0.11), lamps=0.75, beam=0.35, exposure=2.7, noise=3.0,
        bloom=0.09,
    )  # fmt: skip


def _low_sun(scene: StreetScene, clear: Conditions) -> Conditions:
    side = 1.0 if scene.seed % 2 else -1.0
    return replace(
        clear, sun=(1.35, 0.80, 0.40), azimuth=0.16 * side, elevation=0.11,
        ambient=(0.15, 0.155, 0.20), zenith=(0.19, 0.28, 0.48), horizon=(1.05, 0.74, 0.46),
        cloud=(0.75, 0.52, 0.40), cover=0.35, disc=3.5, beta=0.0028, airlight=(0.85, 0.60, 0.38),
        exposure=1.1, bloom=0.16,
    )  # fmt: skip


def _heavy_rain_night(scene: StreetScene, clear: Conditions) -> Conditions:
    return replace(
        _night(scene, clear), cover=1.0, beta=0.013, wet=1.0, rain=1.0, drops=1.0, exposure=8.5,
        noise=9.0, bloom=0.24, airlight=(0.010, 0.0085, 0.008),
    )  # fmt: skip


_TARGETS = {
    "fog": _fog, "night": _night, "rain": _rain, "snow": _snow, "dusk": _dusk,
    "low_sun": _low_sun, "heavy_rain_night": _heavy_rain_night,
}  # fmt: skip


def conditions(scene: StreetScene, domain: str, strength: float = 1.0) -> Conditions:
    """The conditions of ``scene`` in a domain.

    Args:
        domain: One of ``DOMAINS`` or ``HELD_OUT_DOMAINS``.
        strength: 0 (clear day) to 1.

    Raises:
        ValueError: If the domain is unknown or the strength out of range.
    """
    valid = (*DOMAINS, *HELD_OUT_DOMAINS)
    if domain not in valid:
        raise ValueError(f"the domain is {domain!r}; expected one of {', '.join(valid)}")
    if not 0 <= strength <= 1:
        raise ValueError(f"the strength is {strength}; expected a number from 0 to 1")
    clear = _clear(scene)
    if domain == "clear_day" or strength == 0:
        return clear
    target = _TARGETS[domain](scene, clear)
    blended = {
        field.name: _blend(
            getattr(clear, field.name), getattr(target, field.name), strength,
            field.name in _LOGARITHMIC,
        )
        for field in fields(Conditions)
    }  # fmt: skip
    return Conditions(**blended)


def _blend(a: float | RGB, b: float | RGB, strength: float, logarithmic: bool) -> float | RGB:
    if isinstance(a, tuple):
        return tuple(_blend(x, y, strength, logarithmic) for x, y in zip(a, b, strict=True))
    if logarithmic:
        return float(a * (b / a) ** strength)
    return float(a + (b - a) * strength)
