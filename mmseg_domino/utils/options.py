"""Nested arguments: a dict of options with defaults."""

from collections.abc import Mapping


def complete_options(given: Mapping | None, defaults: Mapping, name: str) -> dict:
    """``given`` over ``defaults``."""
    given = {} if given is None else given
    valid = ", ".join(defaults)
    if not isinstance(given, Mapping):
        raise ValueError(f"`{name}` is a dict with any of {valid}; got {given!r}")
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise ValueError(f"unknown options {unknown} in `{name}`; valid: {valid}")
    return {**defaults, **given}
