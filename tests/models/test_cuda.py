"""Every backbone, neck and segmentor on a card, against itself on the CPU.

Tolerances are shares of the largest magnitude: sums of other order in float32, and the rounding of
each type under autocast.
"""

import copy

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from ..zoo import BACKBONES, NECKS, SEGMENTORS

pytestmark = pytest.mark.gpu

ALL = {**BACKBONES, **NECKS}
#: A sample of the posterior is another one on each device.
SAME = [name for name in ALL if name != "vpd-none-sample"]
FLOAT32 = 1e-4
#: Of the whole diffusion backbone, encoder included; others stay ten times closer.
HALF = {torch.bfloat16: 0.3, torch.float16: 0.05}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tmp_path_factory.mktemp("clip")


def moved(value, device):
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return tuple(moved(part, device) for part in value)


def tensors(result):
    if isinstance(result, torch.Tensor):
        return [result]
    return [t for part in result for t in tensors(part)]


def close(ours, expected, tolerance):
    for level, (a, b) in enumerate(zip(tensors(ours), tensors(expected), strict=True)):
        a, b = a.detach().float().cpu(), b.detach().float().cpu()
        assert a.isfinite().all(), level
        error = (a - b).abs().max() / b.abs().max().clamp(min=1e-6)
        assert error <= tolerance, f"level {level}: {error:.2e} of the largest"


def gradients(model, inputs):
    """By name, for a loss that weighs every position of the features differently."""
    total = 0.0
    for feature in tensors(model(*inputs)):
        weights = torch.linspace(-1, 1, feature.numel(), device=feature.device)
        total = total + (feature.float() * weights.view_as(feature)).mean()
    total.backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def same_gradients(ours, expected, tolerance):
    assert set(ours) == set(expected)
    largest = max(float(g.abs().max()) for g in expected.values())
    for name, gradient in expected.items():
        # Some are zero but for rounding, such as those of biases before a normalisation.
        scale = max(float(gradient.abs().max()), 1e-3 * largest)
        error = float((ours[name].float().cpu() - gradient.cpu()).abs().max()) / scale
        assert error <= tolerance, f"{name}: {error:.2e}"


@pytest.mark.parametrize("name", SAME)
def test_features_and_gradients_are_those_of_the_cpu(name, clip, cuda):
    model, inputs = ALL[name].build(clip), ALL[name].inputs()
    there = copy.deepcopy(model).to(cuda)
    with torch.no_grad():
        close(there(*moved(inputs, cuda)), model(*inputs), FLOAT32)
    expected = gradients(model, inputs)
    same_gradients(gradients(there, moved(inputs, cuda)), expected, 1e-2)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", SAME)
def test_half_precision_stays_close_and_trains(name, dtype, clip, cuda):
    model, inputs = ALL[name].build(clip), ALL[name].inputs()
    expected = model(*inputs)
    model, inputs = model.to(cuda).train(), moved(inputs, cuda)
    with torch.autocast("cuda", dtype):
        found = gradients(model, inputs)
    assert found
    assert all(g.dtype == torch.float32 for g in found.values())
    assert all(g.isfinite().all() for g in found.values())
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        return  # its statistics are others now
    with torch.no_grad(), torch.autocast("cuda", dtype):
        close(model.eval()(*inputs), expected, HALF[dtype])


@pytest.mark.parametrize("name", BACKBONES)
def test_channels_last_gives_the_same(name, clip, cuda):
    model, inputs = BACKBONES[name].build(clip).to(cuda), moved(BACKBONES[name].inputs(), cuda)
    if name == "vpd-none-sample":
        pytest.skip("a sample is another one at each call")
    with torch.no_grad():
        expected = model(*inputs)
        images = inputs[0].contiguous(memory_format=torch.channels_last)
        found = model.to(memory_format=torch.channels_last)(images, *inputs[1:])
    close(found, expected, FLOAT32)


@pytest.mark.parametrize("name", [n for n, m in BACKBONES.items() if m.checkpointing])
def test_recomputation_gives_the_same_gradients(name, clip, cuda):
    inputs = moved(BACKBONES[name].inputs(), cuda)
    plain = BACKBONES[name].build(clip).to(cuda).train()
    other = BACKBONES[name].build_checkpointing(clip).to(cuda).train()
    same_gradients(gradients(other, inputs), gradients(plain, inputs), 1e-3)


@pytest.mark.parametrize("name", ["vpd", "resnet", "dinov3"])
def test_generated_code_gives_the_same_features_and_gradients(name, clip, cuda):
    model, inputs = BACKBONES[name].build(clip).to(cuda), moved(BACKBONES[name].inputs(), cuda)
    compiled = copy.deepcopy(model)
    if name == "vpd":
        compiled = BACKBONES[name].build(clip, execution=dict(compile=True)).to(cuda)
        run = compiled
    else:
        run = torch.compile(compiled)
    expected = gradients(model, inputs)
    run(*inputs)
    found = gradients(run, inputs)
    torch._dynamo.reset()
    same_gradients({n.removeprefix("_orig_mod."): g for n, g in found.items()}, expected, 1e-2)


@torch.no_grad()
def test_a_pass_replayed_as_a_cuda_graph_gives_the_same(clip, cuda):
    member = BACKBONES["vpd"]
    inputs = moved(member.inputs(), cuda)
    expected = member.build(clip).to(cuda)(*inputs)
    model = member.build(clip, execution=dict(compile=dict(mode="reduce-overhead"))).to(cuda)
    for _ in range(4):  # the first passes record
        torch.compiler.cudagraph_mark_step_begin()
        close(model(*inputs), expected, 1e-3)
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ALL)
def test_states_move_between_devices(name, clip, cuda):
    there, here = ALL[name].build(clip).to(cuda), ALL[name].build(clip)
    with torch.no_grad():
        for parameter in there.parameters():
            parameter.mul_(1.5)
    state = there.state_dict()
    here.load_state_dict({k: v.cpu() for k, v in state.items()})
    assert {t.device.type for t in here.state_dict().values()} == {"cpu"}
    back = ALL[name].build(clip).to(cuda)
    back.load_state_dict(here.state_dict())
    for key, value in back.state_dict().items():
        assert value.is_cuda, key
        assert torch.equal(value, state[key]), key


def test_one_process_of_distributed_training_gives_the_same_gradients(clip, cuda, tmp_path):
    torch.distributed.init_process_group("nccl", f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        for name in ("vpd", "resnet", "swin-lora"):
            inputs = moved(BACKBONES[name].inputs(), cuda)
            expected = gradients(BACKBONES[name].build(clip).to(cuda).train(), inputs)
            model = BACKBONES[name].build(clip).to(cuda).train()
            parallel = nn.parallel.DistributedDataParallel(model, device_ids=[cuda.index or 0])
            found = gradients(parallel, inputs)
            same_gradients({n.removeprefix("module."): g for n, g in found.items()}, expected, 1e-3)
    finally:
        torch.distributed.destroy_process_group()


def samples(images, domain):
    size = tuple(images.shape[2:])
    meta = dict(ori_shape=size, img_shape=size, pad_shape=size, padding_size=[0] * 4, flip=False)
    result = []
    for i, embedding in enumerate(domain):
        sample = SegDataSample(metainfo={"img_path": f"{i}.png", **meta})
        sample.set_data({"domain_embedding": embedding})
        label = torch.arange(size[0] * size[1], device=images.device).view(1, *size) % 5
        sample.gt_sem_seg = PixelData(data=label)
        result.append(sample)
    return result


@pytest.mark.parametrize("name", SEGMENTORS)
def test_segmentors_predict_and_train_as_on_the_cpu(name, clip, cuda):
    if "mask2former" in name:
        pytest.importorskip("mmdet")
    model, inputs = SEGMENTORS[name].build(clip), SEGMENTORS[name].inputs()
    results, losses = [], []
    for device in ("cpu", cuda):
        model, there = model.to(device), moved(inputs, device)
        with torch.no_grad():
            found = model.eval()(there[0], samples(*there), mode="predict")
        results.append(torch.stack([s.seg_logits.data for s in found]))
        loss = sum(v for k, v in model.train()(there[0], samples(*there), mode="loss").items()
                   if "loss" in k)  # fmt: skip
        loss.backward()
        losses.append(loss.detach().cpu())
        model.zero_grad()
    close(results[1], results[0], 1e-3)
    tolerance = 0.5 if SEGMENTORS[name].draws else 1e-3
    torch.testing.assert_close(losses[1], losses[0], rtol=tolerance, atol=1e-3)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ["eomt", "mask2former", "rein-mask2former"])
def test_mask_heads_train_in_half_precision(name, dtype, clip, cuda):
    if "mask2former" in name:
        pytest.importorskip("mmdet")
    model = SEGMENTORS[name].build(clip).to(cuda).train()
    there = moved(SEGMENTORS[name].inputs(), cuda)
    with torch.autocast("cuda", dtype):
        losses = model(there[0], samples(*there), mode="loss")
    sum(v for k, v in losses.items() if "loss" in k).backward()
    found = [p.grad for p in model.parameters() if p.grad is not None]
    assert found
    assert all(g.isfinite().all() for g in found)
