"""Reading configs of MMEngine."""

from collections.abc import Iterator, Mapping


def type_name(node: Mapping) -> str:
    """The class that a dictionary of a config names, without scope or module; '' for none."""
    kind = node.get("type")
    return kind.rsplit(".", 1)[-1] if isinstance(kind, str) else getattr(kind, "__name__", "")


def dictionaries(node: object) -> Iterator[Mapping]:
    """Every dictionary of a config, in any nesting of others and of lists; outer ones first."""
    if isinstance(node, Mapping):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from dictionaries(child)
