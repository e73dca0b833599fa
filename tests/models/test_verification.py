"""Rein and SoMA against the original code's stored outputs, and an oracle at other sizes."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino.models.verification import verify

from .adapters.originals import write_set

pytest.importorskip("mmdet")
TOLERANCE = 2e-5


def test_rein_computes_what_the_original_does(shared):
    differences = verify(shared / "reference" / "rein_small")
    assert len(differences) == 8
    assert max(differences.values()) < TOLERANCE


def test_soma_computes_and_starts_as_the_original_does(shared):
    differences = verify(shared / "reference" / "soma_small")
    assert {"segmentation_logits", "at_start/residual/blocks.3.mlp.fc1.weight"} <= set(differences)
    assert len([n for n in differences if n.startswith("at_start/product/")]) == 2
    assert max(differences.values()) < TOLERANCE


@pytest.mark.parametrize("kind", ["rein", "soma"])
@pytest.mark.parametrize("image", [(64, 96), (48, 64)])
def test_other_sizes_classes_and_images_hold_too(kind, image, tmp_path):
    write_set(tmp_path / "other", kind, image=image, classes=4 if image[0] == 64 else 7)
    differences = verify(tmp_path / "other")
    assert {"feature0", "feature3", "class_logits", "segmentation_logits"} <= set(differences)
    assert max(differences.values()) < TOLERANCE


def test_a_changed_weight_shows(tmp_path):
    weights = write_set(tmp_path / "set", "soma")
    weights["backbone.model.blocks.3.attn.k.lora_A.weight"] += 0.1
    save_file(weights, tmp_path / "set.weights.safetensors")
    differences = verify(tmp_path / "set")
    assert max(differences[f"feature{i}"] for i in range(3)) < TOLERANCE
    assert differences["feature3"] > 1e-3


def test_what_a_set_lacks_or_does_not_fit_is_said(tmp_path):
    weights = write_set(tmp_path / "set", "soma")
    path = tmp_path / "set.json"
    described = json.loads(path.read_text())

    def refused(match, **changes):
        path.write_text(json.dumps(described | changes))
        with pytest.raises(ValueError, match=match):
            verify(tmp_path / "set")

    refused("is of the kind 'vit'; known are vpd, rein and soma", kind="vit")
    refused("fit what its JSON describes", vit=dict(described["vit"], embed_dim=32))
    refused("fit what its JSON describes", adapter=dict(described["adapter"], rank=2))
    path.write_text(json.dumps(described))
    del weights["backbone.model.blocks.2.attn.k.weight"]
    save_file(weights, tmp_path / "set.weights.safetensors")
    with pytest.raises(ValueError, match="of query, key and value, the checkpoint has only q, v"):
        verify(tmp_path / "set")
    write_set(tmp_path / "new", "rein")
    stored = load_file(tmp_path / "new.activations.safetensors")
    save_file(stored | {"extra": torch.ones(1)}, tmp_path / "new.activations.safetensors")
    with pytest.raises(ValueError, match="holds extra, which is nothing that is computed here"):
        verify(tmp_path / "new")
