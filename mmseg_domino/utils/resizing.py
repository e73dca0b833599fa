"""Sizes of images that are resized for an encoder."""


def fitted_size(source: tuple[int, int], target: tuple[int, int], mode: str) -> tuple[int, int]:
    """The size to resize an image to before its centre is cut out or padded, as open_clip rounds.

    Args:
        source: ``(H, W)`` of the image.
        target: ``(H, W)`` that the encoder takes.
        mode: open_clip's ``resize_mode``: ``"shortest"``, ``"longest"`` or ``"squash"``.

    Raises:
        ValueError: For an unknown mode.
    """
    if mode == "squash":
        return target
    if mode == "shortest" and target[0] == target[1]:
        # torchvision's Resize of the shorter side truncates the longer one.
        short, long = min(source), max(source)
        length = int(target[0] * long / short)
        return (target[0], length) if source[0] <= source[1] else (length, target[0])
    ratios = [s / t for s, t in zip(source, target, strict=True)]
    if mode == "longest":
        ratio = max(ratios)
    elif mode == "shortest":
        ratio = min(ratios)
    else:
        raise ValueError(f"unknown resize_mode {mode!r}; open_clip has shortest, longest, squash")
    return round(source[0] / ratio), round(source[1] / ratio)
