"""Graphs for images of any size."""

import pytest
import torch
from mmseg.models.utils import Upsample
from torch import nn
from torch.nn import functional as F

from mmseg_domino.apps.export_graphs import NetworkGraph, export_network


class Segmentor(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.backbone, self.layer = nn.Identity(), layer

    def encode_decode(self, image, metas):
        return F.interpolate(self.layer(image), metas[0]["img_shape"], mode="bilinear")


def export(factor):
    layer = Upsample(scale_factor=factor, mode="bilinear", align_corners=False)
    inputs = {"image": torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))}
    return export_network(NetworkGraph(Segmentor(layer)), inputs, None)


def test_mmsegs_upsampling_follows_the_size():
    program, multiple = export(2)
    assert multiple == 1
    image = torch.randn(1, 3, 170, 190)
    expected = F.interpolate(image, scale_factor=2, mode="bilinear")
    expected = F.interpolate(expected, (170, 190), mode="bilinear")
    torch.testing.assert_close(program.module()(image=image), expected)


def test_a_graph_that_holds_to_its_example_is_refused():
    # By half a size, which goes through a float, so that the tracer takes it for a constant.
    with pytest.raises(ValueError, match=r"right at one size only; at .* differ by"):
        export(0.5)
