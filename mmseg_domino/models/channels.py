"""Channels that parts of a model take from its backbone, so that no config computes them."""

from collections.abc import Mapping, Sequence

from torch import nn


def fit_neck(neck: Mapping | None, backbone: nn.Module) -> dict | None:
    """A neck's config with what the backbone says of its outputs."""
    if not isinstance(neck, Mapping) or not hasattr(backbone, "map_channels"):
        return neck
    channels, neck = backbone.out_channels, dict(neck)
    given = neck.get("in_channels")
    if given is not None and list(given) != list(channels):
        raise ValueError(
            f"the neck's in_channels are {list(given)} and {type(backbone).__name__} gives "
            f"{list(channels)}, of which {list(backbone.map_channels)} are attention maps; leave "
            "in_channels away and they are filled in"
        )
    neck["in_channels"] = list(channels)
    if str(neck["type"]).rsplit(".", 1)[-1] == "DominoNorm":
        neck["map_channels"] = list(backbone.map_channels)
    return neck


def fit_head(head: Mapping | Sequence | None, backbone: nn.Module) -> object:
    """A head's config, or several, with the channels of the backbone under it filled in."""
    if head is None or not hasattr(backbone, "map_channels"):
        return head
    if not isinstance(head, Mapping):
        return [fit_head(one, backbone) for one in head]
    if head.get("in_channels") is not None:
        return head
    channels = backbone.out_channels
    if "pixel_decoder" in head:  # mask heads read every level and have no in_index
        return {**head, "in_channels": list(channels)}
    index = head.get("in_index", -1)
    taken = channels[index] if isinstance(index, int) else [channels[i] for i in index]
    return {**head, "in_channels": taken}
