"""Mixed precision is used where hardware computes in it, and refused with the reason elsewhere."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmseg_domino.engine import amp, cpu_amp
from mmseg_domino.engine.amp import enable_amp
from mmseg_domino.engine.cpu_amp import CPUAmpOptimWrapper, cpu_bfloat16_units

X86 = "processor\t: 0\nflags\t\t: fpu avx2 avx512f {}\nbugs\t\t: bf16\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd i8mm {}\n"


@pytest.fixture
def cpu(monkeypatch, tmp_path):
    """Sets what the kernel says of the CPU, and hides accelerators."""
    monkeypatch.setattr(amp, "get_device", lambda: "cpu")
    monkeypatch.setattr(cpu_amp, "_CPUINFO", tmp_path / "cpuinfo")

    def says(text):
        (tmp_path / "cpuinfo").write_text(text)

    return says


def config(**kwargs):
    optimizer = dict(type="SGD", lr=0.1)
    return Config(dict(optim_wrapper=dict(type="OptimWrapper", optimizer=optimizer, **kwargs)))


@pytest.mark.parametrize(
    ("text", "units"),
    [
        (X86.format("avx512_bf16"), ("avx512_bf16",)),
        (X86.format("amx_bf16 amx_tile avx512_bf16"), ("amx_bf16", "avx512_bf16")),
        (X86.format("avx512_vnni"), ()),
        (ARM.format("bf16"), ("bf16",)),
        (ARM.format(""), ()),
        ("", ()),
    ],
)
def test_units_are_read_from_the_kernel(cpu, text, units):
    cpu(text)
    assert cpu_bfloat16_units() == units


def test_a_system_without_the_list_has_no_known_units(cpu):
    assert cpu_bfloat16_units() == ()


def test_a_cpu_without_hardware_is_refused_with_the_reason(cpu):
    cpu(X86.format("avx512_vnni"))
    cfg = config()
    before = cfg.to_dict()
    message = (
        r"no hardware for bfloat16 \(none of amx_bf16, avx512_bf16, bf16 among its flags\).*"
        r"\(leave --amp away"
    )
    with pytest.raises(RuntimeError, match=message):
        enable_amp(cfg)
    assert cfg.to_dict() == before


def test_float16_is_refused_on_any_cpu(cpu):
    cpu(X86.format("amx_bf16"))
    with pytest.raises(RuntimeError, match="float16 is refused on the CPU"):
        enable_amp(config(), "float16")


@pytest.mark.parametrize("kind", ["OptimWrapper", "AmpOptimWrapper", "CPUAmpOptimWrapper"])
def test_a_cpu_with_hardware_trains_in_bfloat16(cpu, kind):
    cpu(X86.format("avx512_bf16"))
    cfg = config(clip_grad=dict(max_norm=1.0))
    cfg.optim_wrapper.type = kind
    if kind == "AmpOptimWrapper":
        cfg.optim_wrapper.update(dtype="float16", loss_scale="dynamic")
    enable_amp(cfg)
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert type(wrapper) is CPUAmpOptimWrapper
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        result = model(torch.ones(2, 4))
    assert result.dtype == torch.bfloat16
    assert model(torch.ones(2, 4)).dtype == torch.float32
    wrapper.update_params(result.float().square().sum())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)


class TestAccelerator:
    @pytest.fixture(autouse=True)
    def _gpu(self, monkeypatch):
        monkeypatch.setattr(amp, "get_device", lambda: "cuda")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    @pytest.mark.parametrize(("whole", "dtype"), [(True, "bfloat16"), (False, "float16")])
    def test_the_default_is_bfloat16_where_the_device_has_it(self, monkeypatch, whole, dtype):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: whole)
        cfg = config()
        enable_amp(cfg)
        assert cfg.optim_wrapper.type == "AmpOptimWrapper"
        assert cfg.optim_wrapper.dtype == dtype
        assert cfg.optim_wrapper.optimizer.lr == 0.1

    def test_a_config_that_has_it_is_left_alone(self):
        cfg = config(dtype="float16")
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        before = cfg.to_dict()
        enable_amp(cfg)
        assert cfg.to_dict() == before

    def test_other_wrappers_and_types_are_named(self):
        cfg = config()
        cfg.optim_wrapper.type = "ApexOptimWrapper"
        with pytest.raises(ValueError, match="got 'ApexOptimWrapper'"):
            enable_amp(cfg)
        with pytest.raises(ValueError, match="in 'float16' or 'bfloat16', got 'int8'"):
            enable_amp(config(), "int8")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_step_on_a_device(device, dtype, cpu, monkeypatch):
    cpu(X86.format("avx512_bf16"))
    monkeypatch.setattr(amp, "get_device", lambda: device.type)
    if device.type == "cpu" and dtype == "float16":
        pytest.skip("float16 is refused on the CPU, which has a test of its own")
    cfg = config()
    enable_amp(cfg, dtype)
    model = nn.Linear(8, 8).to(device)
    before = model.weight.detach().clone()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    for _ in range(10):  # the first scale of the loss may be too large, and the step left out
        with wrapper.optim_context(model):
            result = model(torch.ones(2, 8, device=device))
        assert result.dtype == getattr(torch, dtype)
        wrapper.update_params(result.float().square().sum())
    assert model.weight.dtype == torch.float32
    assert model.weight.isfinite().all()
    assert not torch.equal(model.weight, before)
