"""The stock normalisation layers of feature maps ``(B, C, H, W)``, by name."""

from torch import Tensor, nn

#: Over groups of channels, the channels of each position, single channels, the batch.
LEVEL_NORMS = ("group", "layer", "instance", "batch")


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of each position of ``(B, C, H, W)``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def make_level_norm(kind: str, channels: int, num_groups: int = 32) -> nn.Module:
    """A norm layer with a scale and a shift a channel."""
    if kind == "layer":
        return LayerNorm2d(channels)
    if kind == "instance":
        return nn.GroupNorm(channels, channels)
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind != "group":
        raise ValueError(f"unknown norm {kind!r}; valid ones are {', '.join(LEVEL_NORMS)}")
    if channels % num_groups:
        divisors = [g for g in range(1, channels + 1) if channels % g == 0]
        raise ValueError(
            f"num_groups={num_groups} does not divide the {channels} channels; choose one of "
            f"{divisors}"
        )
    return nn.GroupNorm(num_groups, channels)
