import pytest
import torch
from torch.nn import functional as F

from mmseg_domino.models.segmentors.slide import accumulate_windows, window_positions


def stock_average(image, crop, stride):
    """MMSegmentation's loop, with the crop's own values as logits."""
    b, c, h, w = image.shape
    total, count = torch.zeros_like(image), torch.zeros(b, 1, h, w)
    boxes = []
    for i in range(max(h - crop[0] + stride[0] - 1, 0) // stride[0] + 1):
        for j in range(max(w - crop[1] + stride[1] - 1, 0) // stride[1] + 1):
            y2, x2 = min(i * stride[0] + crop[0], h), min(j * stride[1] + crop[1], w)
            y1, x1 = max(y2 - crop[0], 0), max(x2 - crop[1], 0)
            patch = image[:, :, y1:y2, x1:x2]
            total += F.pad(patch * patch.mean(), (x1, w - x2, y1, h - y2))
            count[:, :, y1:y2, x1:x2] += 1
            boxes.append((y1, x1))
    return total / count, boxes


@pytest.mark.parametrize(
    ("size", "crop", "stride"),
    [((16, 16), (16, 16), (10, 10)), ((37, 50), (16, 24), (10, 13)), ((16, 40), (16, 16), (16, 7))],
)
@pytest.mark.parametrize("windows_per_batch", [1, 4, 100])
def test_batched_windows_equal_the_stock_loop(size, crop, stride, windows_per_batch):
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected, boxes = stock_average(image, crop, stride)
    positions = window_positions(size, crop, stride)
    assert positions == boxes
    calls = []

    def predict(chunk):
        calls.append(len(chunk))
        patches = [image[:, :, y : y + crop[0], x : x + crop[1]] for y, x in chunk]
        return torch.stack([patch * patch.mean() for patch in patches])

    result = accumulate_windows(positions, crop, size, predict, windows_per_batch)
    torch.testing.assert_close(result, expected)
    assert max(calls) <= windows_per_batch
    assert sum(calls) == len(positions)


def test_a_window_larger_than_the_image_is_one_window():
    assert window_positions((10, 12), (16, 16), (8, 8)) == [(0, 0)]
