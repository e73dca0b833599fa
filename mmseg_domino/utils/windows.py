"""Where the windows lie that cover an image."""


def window_positions(
    size: tuple[int, int], crop: tuple[int, int], stride: tuple[int, int]
) -> list[tuple[int, int]]:
    """Top left corners of the windows that cover an image, as MMSegmentation places them.

    Args:
        size: ``(H, W)``.
        crop: Height and width of a window; a window larger than the image is cut to it.
        stride: Vertical and horizontal step.

    Returns:
        ``G`` pairs ``(top, left)``, row by row. The last window of a row or column ends at the
        border, so all windows have the same size.
    """

    def starts(length: int, window: int, step: int) -> list[int]:
        count = max(length - window + step - 1, 0) // step + 1
        return [max(min(i * step + window, length) - window, 0) for i in range(count)]

    (h, w), (crop_h, crop_w), (step_h, step_w) = size, crop, stride
    return [(y, x) for y in starts(h, crop_h, step_h) for x in starts(w, crop_w, step_w)]
