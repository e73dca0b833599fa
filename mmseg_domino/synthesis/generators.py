"""What makes images: the interface, and the registry through which others plug in.

A generator of your own is a class with the methods of :class:`Generator`, registered with
``@GENERATORS.register_module()`` in a module that the config imports (``custom_imports``), and
named in the config as ``synthesis = dict(generator=dict(type='MyGenerator', ...))``.

Shapes: ``B`` requests, ``H W`` the label's size.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from mmengine.registry import Registry

# Without a location MMEngine would look for a function that registers all of the package.
GENERATORS = Registry("image generator", locations=[__name__])
#: The module that registers each generator of the package: imported when it is asked for, so that
#: neither a plug-in nor the classical one waits for diffusers.
_MODULES = {"ClassicalWeather": "weather", "ControlNetGenerator": "diffusion"}


@dataclass(frozen=True)
class Request:
    """One image that is asked for.

    Attributes:
        name: Of the source image: its path below the image folder, without suffix.
        domain: Key of the domain that is asked for.
        image: ``(H, W, 3)`` uint8 RGB, the real image.
        label: ``(H, W)`` uint8 class numbers.
        classes: Class names.
        control: ``(H, W, 3)`` uint8 RGB, the label in ADE20K's colours.
        prompt: What to show.
        negative_prompt: What not to show.
        seed: Of all randomness.
        image_path: File of the real image.
    """

    name: str
    domain: str
    image: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...]
    control: np.ndarray
    prompt: str
    negative_prompt: str
    seed: int
    image_path: str = ""


@dataclass(frozen=True)
class Generated:
    """What a generator made of a request.

    Attributes:
        image: ``(h, w, 3)`` uint8 RGB of any size, or ``None`` if there is nothing to show.
        problem: Why it must not be used, such as NaN or a safety checker's veto; ``None`` if it
            may be.
        parameters: What the generator drew for this image, as JSON values, such as the visibility
            of fog.
    """

    image: np.ndarray | None
    problem: str | None = None
    parameters: dict = field(default_factory=dict)


@runtime_checkable
class Generator(Protocol):
    """Makes images of requests. The same request must give the same image.

    One that does not read the prompt says so by ``reads_prompt = False``; none is recorded then.
    """

    def check_domains(self, domains: Sequence[str]) -> None:
        """Raise ``ValueError`` if a domain cannot be made."""

    def describe(self) -> dict:
        """What the images depend on, as JSON values: resuming with anything else is refused."""

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        """One result a request, in order."""


def build_generator(options: Mapping) -> Generator:
    """Build a generator from its config.

    Args:
        options: ``type`` and the constructor's arguments.

    Raises:
        ValueError: If no generator has that name; lists those known.
    """
    kind = options["type"]
    if kind in _MODULES:
        importlib.import_module(f"{__package__}.{_MODULES[kind]}")
    elif kind not in GENERATORS.module_dict:
        known = ", ".join(sorted({*GENERATORS.module_dict, *_MODULES}))
        raise ValueError(
            f"unknown generator {kind!r}; known are {known}. One of your own is registered in a "
            "module that the config's custom_imports name."
        )
    arguments = {name: value for name, value in options.items() if name != "type"}
    # Not GENERATORS.build: it looks in the default scope's package first, and warns without need.
    return GENERATORS.module_dict[kind](**arguments)
