import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmseg_domino.models.segmentors.slide import (
    accumulate_windows,
    cut_windows,
    slide_options,
)
from mmseg_domino.utils.windows import window_positions


def stock_average(image, crop, stride):
    """MMSegmentation's loop, with the crop's own values as logits."""
    b, c, h, w = image.shape
    total, count = torch.zeros_like(image), image.new_zeros(b, 1, h, w)
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
def test_batched_windows_equal_the_stock_loop(size, crop, stride, windows_per_batch, device):
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).to(device)
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


def test_windows_are_cut_with_the_first_of_all_images_first(device):
    source = torch.arange(2 * 4 * 5, device=device).view(2, 1, 4, 5)
    windows = cut_windows(source, [(0, 0), (1, 3)], (2, 2))
    expected = [[0, 1, 5, 6], [20, 21, 25, 26], [8, 9, 13, 14], [28, 29, 33, 34]]
    assert windows.flatten(1).tolist() == expected


def test_positions_may_be_several_pixels_apart(device):
    image = torch.randn(1, 2, 24, 40, generator=torch.Generator().manual_seed(0)).to(device)
    positions = window_positions((3, 5), (2, 2), (1, 2))

    def predict(chunk):
        return torch.stack([image[:, :, y * 8 : y * 8 + 16, x * 8 : x * 8 + 16] for y, x in chunk])

    result = accumulate_windows(positions, (2, 2), (3, 5), predict, 2, unit=8)
    torch.testing.assert_close(result, image)


def test_half_precision_is_summed_in_float32(device):
    positions = [(0, 0)] * 300  # sums above 256 lose whole numbers in bfloat16
    result = accumulate_windows(
        positions,
        (1, 1),
        (1, 1),
        lambda c: torch.ones(len(c), 1, 1, 1, 1).to(device, torch.bfloat16),
        7,
    )
    assert result.dtype == torch.float32
    assert result.item() == 1


def test_logits_of_a_batch_are_gone_before_the_next_is_computed():
    alive = []

    def predict(chunk):
        assert not any(tensor() is not None for tensor in alive)
        logits = torch.ones(len(chunk), 1, 1, 4, 4)
        alive.append(weakref.ref(logits))
        return logits

    positions = window_positions((16, 16), (4, 4), (3, 3))
    accumulate_windows(positions, (4, 4), (16, 16), predict, 2)
    assert len(alive) == -(-len(positions) // 2)


class TestSlideOptions:
    GOOD = dict(crop_size=(8, 16), stride=[4, 8])

    def test_defaults(self):
        options = slide_options(self.GOOD, nn.Identity())
        assert (options.crop, options.stride) == ((8, 16), (4, 8))
        assert (options.windows_per_batch, options.whole_latent) == (1, False)

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (dict(windows_per_batch=0), "must be a positive int, got 0"),
            (dict(windows_per_batch=True), "must be a positive int, got True"),
            (dict(windows_per_batch=2.5), "must be a positive int, got 2.5"),
            (dict(latent="whole"), "must be 'window' or 'image', got 'whole'"),
            (dict(latent="image"), "Identity does not .it lacks encode, forward_latent, latent_st"),
            (dict(stride=4), "stride must be two positive numbers, got 4"),
            (dict(crop_size=(8, 0)), r"crop_size must be two positive numbers, got \(8, 0\)"),
        ],
    )
    def test_bad_ones_are_explained(self, bad, message):
        with pytest.raises(ValueError, match=message):
            slide_options({**self.GOOD, **bad}, nn.Identity())
