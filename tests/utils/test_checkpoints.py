"""PyTorch's files, read without running what is in them."""

import io
import zipfile

import pytest
import torch
from torch import nn

from mmseg_domino.utils.checkpoints import (
    CheckpointError,
    UnsafeCheckpointError,
    read_pickle,
    read_torchscript,
)
from tests.payload import Payload


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_and_plain_values_come_back(zipped, tmp_path):
    path = tmp_path / "a.pth"
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).half()
    content = {
        "state_dict": model.state_dict(),
        "meta": {"names": ("a", b"b"), "epoch": 3, "none": None, "size": torch.Size([2])},
        "optimizer": {"state": {0: {"step": torch.tensor(2.0)}}, "dtype": torch.bfloat16},
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    read = read_pickle(path)
    assert read["meta"] == content["meta"]
    assert read["optimizer"]["dtype"] is torch.bfloat16
    for name, value in content["state_dict"].items():
        assert torch.equal(read["state_dict"][name], value)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_does_not_run(zipped, tmp_path):
    path, sign = tmp_path / "a b.pth", tmp_path / "it ran"
    content = {"state_dict": {"w": torch.ones(1)}, "meta": Payload(sign)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(UnsafeCheckpointError, match="turn it into safetensors once") as error:
            read_pickle(source, name=str(path))
        assert f"'{path}' '{tmp_path}/a b.safetensors'" in str(error.value)
    assert not sign.exists()


def test_what_is_allowed_is_allowed_by_its_name(tmp_path):
    torch.save({"x": complex_number}, tmp_path / "a.pth")
    name = f"{__name__}.complex_number"
    with pytest.raises(UnsafeCheckpointError, match="complex_number"):
        read_pickle(tmp_path / "a.pth")
    assert read_pickle(tmp_path / "a.pth", {name: max})["x"] is max


def complex_number():
    raise AssertionError("called")


@pytest.mark.parametrize("kept", [0, 1, 40, 0.5, 0.95])
def test_damaged_files_are_named(kept, tmp_path):
    path = tmp_path / "cut.pth"
    torch.save({"a": torch.ones(1000)}, path)
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    with pytest.raises(CheckpointError, match=r"cut\.pth"):
        read_pickle(path)
    with pytest.raises(FileNotFoundError, match=r"none\.pth can not be found"):
        read_pickle(tmp_path / "none.pth")


@pytest.mark.parametrize("mmap", [False, True])
def test_a_flipped_bit_of_a_weight_is_found(mmap, tmp_path):
    """PyTorch writes checksums into its files and does not compare them."""
    path = tmp_path / "flipped.pth"
    torch.save({"a": torch.ones(1000)}, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert not torch.equal(torch.load(path)["a"], torch.ones(1000))
    for source in (path, io.BytesIO(data)):
        with pytest.raises(CheckpointError, match=r"flipped\.pth .*checksum of its part .*/data/0"):
            read_pickle(source, name=str(path), mmap=mmap and source is path)


class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2, bias=False)).half()
        self.register_buffer("number", torch.tensor(7))

    def forward(self, x):
        return self.inner(x)


def test_tensors_of_a_torchscript_archive(tmp_path):
    path = tmp_path / "scripted.pt"
    module = Scripted()
    torch.jit.save(torch.jit.script(module), path)
    read = read_torchscript(path)
    expected = torch.jit.load(path).state_dict()
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], value) for name, value in expected.items())
    with pytest.raises(UnsafeCheckpointError, match="TorchScript"):  # a program, to others
        read_pickle(path)


def test_a_torchscript_archive_that_is_none(tmp_path):
    path = tmp_path / "scripted.pt"
    torch.save(Payload(tmp_path / "it ran"), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("scripted/constants.pkl", b"")
    with pytest.raises(UnsafeCheckpointError, match=r"scripted\.pt is a pickle"):
        read_torchscript(path)
    assert not (tmp_path / "it ran").exists()
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"scripted\.pt cannot be read"):
        read_torchscript(path)
