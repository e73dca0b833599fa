"""Reading configs of MMEngine."""

from collections.abc import Mapping


def type_name(node: Mapping) -> str:
    """The class that a dictionary of a config names, without scope or module; '' for none."""
    kind = node.get("type")
    return kind.rsplit(".", 1)[-1] if isinstance(kind, str) else getattr(kind, "__name__", "")
