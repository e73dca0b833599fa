import torch

from mmseg_domino.models.kernels.precision import full_precision


def test_products_inside_are_float32_and_outside_are_not(device):
    x = torch.randn(3, 3, device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        with full_precision(x.device):
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16


def test_devices_without_autocast_need_nothing():
    x = torch.ones(2, 2, device="meta")
    with full_precision(x.device):
        assert (x @ x).dtype == torch.float32
