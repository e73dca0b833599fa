"""Sliding windows whose crops are computed in batches.

Shapes: ``B`` images, ``G`` windows, ``C`` channels, ``N`` classes, ``H W`` the source's size: an
image's, or a latent's, whose positions are ``unit`` pixels apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_LATENTS = ("window", "image")
#: What a backbone needs for windows that are cut from one latent.
_LATENT_PARTS = ("encode", "forward_latent", "latent_stride")


@dataclass(frozen=True)
class SlideOptions:
    """What ``test_cfg`` says of sliding windows.

    Attributes:
        crop: Height and width of a window, in pixels.
        stride: Vertical and horizontal step, in pixels.
        windows_per_batch: Windows of each image that go through the network at once.
        whole_latent: Encode the whole image once, and cut the windows from the latent.
    """

    crop: tuple[int, int]
    stride: tuple[int, int]
    windows_per_batch: int
    whole_latent: bool


def slide_options(test_cfg: Mapping, backbone: nn.Module) -> SlideOptions:
    """Read and check the options."""
    count = test_cfg.get("windows_per_batch", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"test_cfg.windows_per_batch must be a positive int, got {count!r}")
    latent = test_cfg.get("latent", "window")
    if latent not in _LATENTS:
        raise ValueError(f"test_cfg.latent must be 'window' or 'image', got {latent!r}")
    missing = [name for name in _LATENT_PARTS if not hasattr(backbone, name)]
    if latent == "image" and missing:
        raise ValueError(
            "test_cfg.latent='image' needs a backbone that encodes images to a latent "
            f"(DominoVPD); {type(backbone).__name__} does not (it lacks {', '.join(missing)}). "
            "Leave it at 'window'."
        )
    sizes = {}
    for name in ("crop_size", "stride"):
        value = test_cfg[name]
        if isinstance(value, int) or len(value) != 2 or min(value) < 1:
            raise ValueError(f"test_cfg.{name} must be two positive numbers, got {value!r}")
        sizes[name] = tuple(value)
    return SlideOptions(sizes["crop_size"], sizes["stride"], count, latent == "image")


def cut_windows(
    source: Tensor, positions: Sequence[tuple[int, int]], crop: tuple[int, int]
) -> Tensor:
    """Some windows of images ``(B, C, H, W)`` by their top left corners, the first of all first:
    ``(len(positions) * B, C, *crop)``.
    """
    return torch.cat([source[:, :, y : y + crop[0], x : x + crop[1]] for y, x in positions])


def accumulate_windows(
    positions: Sequence[tuple[int, int]],
    crop: tuple[int, int],
    size: tuple[int, int],
    predict: Callable[[Sequence[tuple[int, int]]], Tensor],
    windows_per_batch: int,
    unit: int = 1,
) -> Tensor:
    """Average overlapping window predictions into one map.

    Besides the map, the logits of one batch of windows are held at a time, and none while the next
    batch is computed. Sums are float32 at least, whatever the windows' logits are.

    Args:
        positions: ``G`` top left corners.
        crop: Height and width of a window, at most ``size``.
        size: ``(H, W)``.
        predict: Gives the logits of some windows, ``(len(chunk), B, N, *crop)``, the sides times
            ``unit``.
        windows_per_batch: How many windows ``predict`` gets at once.
        unit: Pixels of the logits a position of the source.

    Returns:
        ``(B, N, H * unit, W * unit)``.
    """
    total: Tensor | None = None
    for first in range(0, len(positions), windows_per_batch):
        chunk = positions[first : first + windows_per_batch]
        total = _add(total, chunk, predict(chunk), (size[0] * unit, size[1] * unit), unit)
    count = total.new_zeros(total.shape[2:])
    for y, x in positions:
        count[y * unit : (y + crop[0]) * unit, x * unit : (x + crop[1]) * unit] += 1
    return total.div_(count)


def _add(
    total: Tensor | None,
    chunk: Sequence[tuple[int, int]],
    logits: Tensor,
    size: tuple[int, int],
    unit: int,
) -> Tensor:
    """Add the logits of a batch of windows to the sum, which starts as None."""
    if total is None:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        total = logits.new_zeros((*logits.shape[1:3], *size), dtype=dtype)
    height, width = logits.shape[3:]
    for (y, x), window in zip(chunk, logits, strict=True):
        top, left = y * unit, x * unit
        total[:, :, top : top + height, left : left + width] += window
    return total
