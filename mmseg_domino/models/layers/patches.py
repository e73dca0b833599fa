"""What backbones made of plain vision transformers share.

Shapes: ``B`` batch, ``C`` channels, ``H W`` the image's size, ``h w`` the grid of patches.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def choose_blocks(indices: Sequence[int] | None, depth: int, model: str) -> tuple[int, ...]:
    """The blocks of a transformer whose outputs are wanted, in their order.

    Negative indices count from the end; ``None`` stands for four at equal distances, the last
    block the last.
    """
    if indices is None:
        return tuple(round(depth * (i + 1) / 4) - 1 for i in range(4))
    bad = [i for i in indices if not -depth <= i < depth]
    if bad:
        raise ValueError(f"out_indices {bad} do not exist: {model} has the blocks 0 to {depth - 1}")
    blocks = {i % depth for i in indices}
    if not blocks or len(blocks) < len(indices):
        raise ValueError(
            f"out_indices must name blocks of {model}, each once; got {list(indices)} (of {depth})"
        )
    return tuple(sorted(blocks))


def load_from_whole(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what a network has of a whole published one; its low-rank adapters stay as they are."""
    own = module.state_dict()
    adapters = {k: v for k, v in own.items() if ".lora_" in k}
    module.load_state_dict({**adapters, **{k: v for k, v in state.items() if k in own}})


def fit_to_patches(x: Tensor, patch: int) -> Tensor:
    """Resize images ``(B, 3, H, W)`` to the nearest whole number of patches, at least one.

    Padding instead would move the features against the image by up to a patch, and the head's
    resizing would stretch them over it. ``patch`` is the side of one in pixels.
    """
    size = [max(1, round(length / patch)) * patch for length in x.shape[-2:]]
    if size == list(x.shape[-2:]):
        return x
    return F.interpolate(x, size=size, mode="bicubic", align_corners=False)


def resample_positions(
    positions: Tensor, grid: tuple[int, int], antialias: bool = False, excess: float = 0.0
) -> Tensor:
    """Interpolate learned position embeddings bicubically to another grid of patches.

    Args:
        positions: ``(1 + n * n, C)``: the class token's, then a square grid by rows.
        grid: ``(h, w)``.
        antialias: As open_clip and timm do it; DINOv2, Rein and SoMA do not.
        excess: Patches by which the factors' grid is larger. DINOv2 was trained with 0.1.

    Returns:
        ``(1 + h * w, C)``.
    """
    side = round((len(positions) - 1) ** 0.5)
    if side * side != len(positions) - 1:
        raise ValueError(f"{len(positions)} - 1 position embeddings form no square grid")
    if grid == (side, side):
        return positions
    square = positions[1:].reshape(1, side, side, -1).permute(0, 3, 1, 2).float()
    factors = tuple((length + excess) / side for length in grid)
    size = {"scale_factor": factors} if excess else {"size": grid}
    resized = F.interpolate(square, mode="bicubic", antialias=antialias, **size)
    rows = resized.to(positions.dtype).flatten(2)[0].T
    return torch.cat([positions[:1], rows])


def bicubic_start(
    state: Mapping[str, Tensor], patch: int, grid: tuple[int, int]
) -> dict[str, Tensor]:
    """DINOv2's weights for another patch size and image size, as Rein and SoMA make them.

    Kernel and position embeddings are interpolated bicubically with ``align_corners=False`` and
    without antialiasing. (timm resamples kernels by a pseudo-inverse and positions with
    antialiasing: other features.)

    Args:
        state: With ``patch_embed.proj.weight`` and ``pos_embed``, of which the first position is
            the class token's.
        patch: Side of a patch in pixels.
        grid: Patches ``(h, w)`` of the images that position embeddings are kept for.
    """
    kernel = state["patch_embed.proj.weight"]
    resized = F.interpolate(
        kernel.float(), size=(patch, patch), mode="bicubic", align_corners=False
    )
    return {
        **state,
        "patch_embed.proj.weight": resized.to(kernel.dtype),
        "pos_embed": resample_positions(state["pos_embed"][0], grid)[None],
    }
