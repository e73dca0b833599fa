"""Faults of devices, found without a card: everything computes with fake tensors on CUDA.

A fake tensor has a shape, a type and a device and no values. Two that lie on different devices
refuse to be combined, and to read a value back to the host, which makes it wait for the card, is
an error. (Backward passes are not possible: they need the card's own threads.)
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from mmcv.ops import (
    PSAMask,
    deform_conv2d,
    modulated_deform_conv2d,
    roi_align,
    sigmoid_focal_loss,
)
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from mmseg_domino import models
from mmseg_domino.domain import DomainEncoder
from mmseg_domino.models.data_preprocessor import DominoDataPreProcessor

from .tiny_clip import write_tiny_clip
from .zoo import BACKBONES, NECKS, SEGMENTORS, D

#: PyTorch's words, which differ between operators and versions.
TWO_DEVICES = "two (different )?devices"
pytestmark = pytest.mark.skipif(
    torch.__version__ < (2, 11),
    reason="PyTorch 2.6 aborts the process when a layer's graph is on a card that is not there",
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Where tensors are fake; real ones that come in count as lying where they lie."""
    future = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(future)


def to_cuda(value):
    """A tensor, what holds some, or a module, on the card that is not there."""
    if isinstance(value, Tensor):
        layout = value.size(), value.stride()
        return torch.empty_strided(*layout, dtype=value.dtype, device="cuda")
    if isinstance(value, nn.Module):
        return value._apply(to_cuda)
    if isinstance(value, tuple):
        return tuple(map(to_cuda, value))
    return value


def leaves(result) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    else:
        for part in result.values() if isinstance(result, dict) else result:
            yield from leaves(part)


def check_on_cuda(result) -> None:
    found = list(leaves(result))
    assert found
    assert {tensor.device.type for tensor in found} == {"cuda"}


@pytest.fixture
def _as_if_there_were_a_card(monkeypatch):
    """Without one PyTorch turns autocast on CUDA off, with a warning."""
    for module in (torch.amp.autocast_mode, torch.cuda.amp.common):
        if hasattr(module, "amp_definitely_not_available"):
            monkeypatch.setattr(module, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)


def types(config) -> Iterator[str]:
    if isinstance(config, dict):
        yield config.get("type")
        config = config.values()
    if not isinstance(config, str | Tensor) and hasattr(config, "__iter__"):
        for part in config:
            yield from types(part)


def test_every_registered_part_has_its_small_model():
    """A new backbone, neck, head or segmentor is tested here only if the zoo has it."""
    rooms = (models.backbones, models.necks, models.heads, models.segmentors)
    ours = {m for m in MODELS.module_dict.values() if m.__module__.startswith("mmseg_domino.")}
    offered = {getattr(room, name) for room in rooms for name in room.__all__}
    expected = {part.__name__ for part in ours & offered}
    assert len(expected) >= 8
    members = [*BACKBONES.values(), *NECKS.values(), *SEGMENTORS.values()]
    assert expected <= {name for member in members for name in types(member.config)}


@pytest.mark.usefixtures("_as_if_there_were_a_card")
def test_what_a_fake_card_finds():
    """The tests of this file could not fail if these passed."""
    layer = nn.Linear(2, 2)
    layer.register_buffer("shift", torch.ones(2))
    with fake_cuda():
        x = to_cuda(torch.ones(3, 2))
        with pytest.raises(RuntimeError, match=TWO_DEVICES):
            x @ torch.ones(2, 2)
        with pytest.raises(RuntimeError, match=TWO_DEVICES):
            layer(x)
        with pytest.raises(RuntimeError, match=TWO_DEVICES):
            x.sum(dim=0) * layer.shift
        check_on_cuda(to_cuda(layer)(x) + layer.shift)
        with torch.autocast("cuda", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        for read in (Tensor.item, bool, float):
            with pytest.raises(DataDependentOutputException):
                read(x.sum())


@pytest.mark.usefixtures("_as_if_there_were_a_card")
@pytest.mark.parametrize("mode", ["eval", "train under autocast"])
@pytest.mark.parametrize("name", [*BACKBONES, *NECKS])
def test_backbones_and_necks(name, mode, clip):
    member = {**BACKBONES, **NECKS}[name]
    model = member.build(clip)
    training = mode != "eval"
    half = torch.autocast("cuda", torch.bfloat16, enabled=training)
    with fake_cuda(), half, torch.set_grad_enabled(training):
        to_cuda(model).train(training)
        check_on_cuda(model(*to_cuda(member.inputs())))


def samples(images: Tensor, domain: Tensor) -> list[SegDataSample]:
    size = tuple(images.shape[2:])
    meta = dict(ori_shape=size, img_shape=size, pad_shape=size, padding_size=[0] * 4, flip=False)
    result = []
    for embedding in domain:
        sample = SegDataSample(metainfo={"img_path": "a.png", **meta})
        sample.set_data({"domain_embedding": embedding})
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, *size, dtype=torch.long).to(images))
        result.append(sample)
    return result


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in SEGMENTORS if "mask2former" not in name])
def test_segmentors(name, clip):
    """Prediction and the pass behind the loss; stock losses read pixels back to count them.

    mmdet's pixel decoder and mmcv's layer read the sizes of the levels back, which nothing here
    can change; what stands in for the operator behind them is tested below.
    """
    member = SEGMENTORS[name]
    model = member.build(clip)
    with fake_cuda():
        to_cuda(model)
        images, domain = to_cuda(member.inputs())
        check_on_cuda(model(images, samples(images, domain), mode="tensor"))
        predicted = model(images, samples(images, domain), mode="predict")
        check_on_cuda([s.seg_logits.data for s in predicted])
        check_on_cuda([s.pred_sem_seg.data for s in predicted])


def test_operators():
    value, points = torch.zeros(2, 15, 2, 4), torch.zeros(2, 6, 2, 2, 3, 2)
    shapes, features = torch.tensor([[3, 4], [1, 3]]), torch.zeros(2, 4, 8, 8)
    rois, logits = torch.zeros(3, 5), torch.zeros(5, 4)
    with fake_cuda():
        value, points, shapes, features, rois, logits = to_cuda(
            (value, points, shapes, features, rois, logits)
        )
        attend = MultiScaleDeformableAttnFunction.apply
        check_on_cuda(attend(value, shapes, shapes[:, 0], points, points[..., 0], 64))
        check_on_cuda(roi_align(features, rois, 2))
        check_on_cuda(PSAMask("collect", (3, 3))(features.new_zeros(1, 9, 4, 4)))
        offset = features.new_zeros(2, 18, 8, 8)
        weight = features.new_zeros(4, 4, 3, 3)
        check_on_cuda(deform_conv2d(features, offset, weight, 1, 1))
        mask = offset[:, :9]
        check_on_cuda(modulated_deform_conv2d(features, offset, mask, weight, None, 1, 1))
        check_on_cuda(sigmoid_focal_loss(logits, logits[:, 0].long(), 2.0, 0.25))


@pytest.mark.parametrize("kwargs", [
    dict(source="soft"), dict(source="argmax"), dict(source="image", space="joint"),
    dict(source="random"), dict(source="null"), dict(source="oracle"), dict(source="residual"),
    dict(source="learned", domain_table=dict(num_domains=5, channels=D)),
], ids=lambda kwargs: kwargs["source"])  # fmt: skip
def test_the_preprocessor_encodes_images(kwargs, clip):
    preprocessor = DominoDataPreProcessor(
        mean=[127.5] * 3, std=[127.5] * 3, domain_encoder=dict(model=str(clip)), **kwargs
    )
    _ = preprocessor.encoder.text  # made once, on the host
    with fake_cuda():
        to_cuda(preprocessor)._device = torch.device("cuda")
        sample = SegDataSample(metainfo={"img_shape": (64, 96), "domain": "fog"})
        batch = dict(inputs=[torch.zeros(3, 64, 96, dtype=torch.uint8)], data_samples=[sample])
        out = preprocessor(batch)
        check_on_cuda([out["inputs"], out["data_samples"][0].domain_embedding])
        check_on_cuda([out["data_samples"][0].domain_scores])


@pytest.mark.usefixtures("_as_if_there_were_a_card")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_encoder_embeds_images(precision, clip):
    encoder = DomainEncoder(str(clip), precision=precision)
    _ = encoder.text
    with fake_cuda():
        to_cuda(encoder)
        pixels = torch.zeros(2, 3, 32, 32)  # from the host, as a loader gives them
        check_on_cuda(encoder(pixels))
        check_on_cuda(encoder.encode_raw([torch.zeros(3, 40, 50), torch.zeros(3, 64, 33)]))
