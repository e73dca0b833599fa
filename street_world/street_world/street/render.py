"""Scene and domain to image, label, depth and caption."""

from dataclasses import dataclass

import numpy as np

from street_world.street.build import Geometry, build
from street_world.street.caption import caption
from street_world.street.conditions import conditions
from street_world.street.light import surface_radiance
from street_world.street.scene import StreetScene
from street_world.street.weather import develop, falling, koschmieder, optical_path


@dataclass(frozen=True)
class Rendering:
    """A picture and what is known of it.

    ``image`` (H, W, 3) uint8 sRGB; ``label`` (H, W) uint8 training numbers, 255 for the car's own
    bonnet; ``depth`` (H, W) float32 metres along the optical axis, infinite in the sky;
    ``caption`` a sentence; ``things`` (H, W) int32 which of ``scene.things`` is seen, -1 for none.
    """

    image: np.ndarray
    label: np.ndarray
    depth: np.ndarray
    caption: str
    things: np.ndarray


def render(
    scene: StreetScene,
    domain: str = "clear_day",
    strength: float = 1.0,
    geometry: Geometry | None = None,
) -> Rendering:
    """Render a scene; the same arguments give the same bytes.

    Label, depth and things do not depend on the domain.

    Args:
        scene: From ``sample_scene``.
        domain: One of ``DOMAINS`` or ``HELD_OUT_DOMAINS``.
        strength: 0 (exactly the clear day) to 1.
        geometry: ``build(scene)``, to save that work where a scene is shown in several domains.

    Raises:
        ValueError: If the domain is unknown or the strength out of range.
    """
    state = conditions(scene, domain, strength)
    if geometry is None:
        geometry = build(scene)
    buffer = geometry.buffer
    radiance = surface_radiance(scene, geometry, state)
    path = optical_path(buffer.depth, scene.camera)
    radiance = koschmieder(radiance, path, state.beta, state.airlight)
    radiance = falling(scene, state, radiance)
    return Rendering(
        image=develop(scene, state, radiance),
        label=buffer.label,
        depth=buffer.depth,
        caption=caption(scene, buffer.label, domain, strength),
        things=buffer.thing,
    )
