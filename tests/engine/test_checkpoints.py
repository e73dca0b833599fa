"""Safetensors as ``load_from``."""

import pytest
import torch
from mmengine.runner import CheckpointLoader, load_checkpoint
from safetensors.torch import save_file
from torch import nn

from mmseg_domino.engine import load_safetensors


def test_a_model_loads_from_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    source, model = nn.Linear(2, 3), nn.Linear(2, 3)
    save_file(source.state_dict(), path)
    load_checkpoint(model, str(path), map_location="cpu", strict=True)
    assert torch.equal(model.weight, source.weight)
    assert load_safetensors(str(path))["meta"] == {}


@pytest.mark.parametrize(
    "name", ["model.pth", "http://host/model.safetensors", "s3://bucket/model.safetensors"]
)
def test_other_files_and_places_stay_mmengines(name):
    assert CheckpointLoader._get_checkpoint_loader(name) is not load_safetensors
    assert CheckpointLoader._get_checkpoint_loader("a/b.safetensors") is load_safetensors


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors can not be found"):
        load_checkpoint(nn.Linear(1, 1), str(tmp_path / "none.safetensors"))
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(9)}, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"x\.safetensors cannot be read as safetensors"):
        load_checkpoint(nn.Linear(1, 1), str(path))
