"""OpenClipViT against open_clip's own tower, and files in open_clip's and OpenAI's layout."""

import json
import re

import open_clip
import pytest
import torch
from mmseg.registry import MODELS
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from mmseg_domino.models.backbones import OpenClipViT

from ...tiny_clip import CONFIG, write_tiny_clip

WIDTH = CONFIG["model_cfg"]["vision_cfg"]["width"]
PATCH = CONFIG["model_cfg"]["vision_cfg"]["patch_size"]
DEPTH = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A folder of a deeper tower, so that blocks can be chosen."""
    root = tmp_path_factory.mktemp("deep")
    config = json.loads(json.dumps(CONFIG))
    config["model_cfg"]["vision_cfg"]["layers"] = DEPTH
    (root / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    model = open_clip.create_model(f"local-dir:{root}", load_weights=False)
    torch.save(model.state_dict(), root / "open_clip_pytorch_model.bin")
    return root


def images(height=32, width=32):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(2))


def loaded(model, **kwargs):
    backbone = OpenClipViT(str(model), **kwargs)
    backbone.init_weights()
    return backbone


def block_outputs(model, x):
    """What every block gives while open_clip runs the whole tower, as ``(B, C, h, w)``."""
    visual = open_clip.create_model(f"local-dir:{model}").visual.eval().to(x.device)
    outputs = []
    for block in visual.transformer.resblocks:
        block.register_forward_hook(lambda _m, _i, y: outputs.append(y))
    visual(x)
    grid = [length // PATCH for length in x.shape[-2:]]
    return [y[:, 1:].transpose(1, 2).unflatten(2, grid) for y in outputs]


def test_features_are_those_of_the_towers_own_blocks(deep, device):
    backbone = loaded(deep, out_indices=(-2, 0, 1)).to(device).eval()
    assert backbone.out_indices == (0, 1, 3)
    assert len(backbone.visual.transformer.resblocks) == 4
    expected = block_outputs(deep, images().to(device))
    for ours, index in zip(backbone(images().to(device)), backbone.out_indices, strict=True):
        assert ours.shape == (2, WIDTH, 4, 4)
        torch.testing.assert_close(ours, expected[index])
    assert loaded(deep).to(device).out_indices == (0, 1, 3, 4)


def test_any_size_is_taken_and_every_parameter_is_used(deep, device):
    backbone = loaded(deep).to(device)
    features = backbone(images(37, 61).to(device))
    assert [tuple(f.shape) for f in features] == [(2, WIDTH, 5, 8)] * 4
    sum(f.square().mean() for f in features).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []


def test_position_embeddings_are_interpolated_as_open_clip_does_for_another_size(deep, device):
    """open_clip resizes them itself when a model is built for another image size."""
    other = open_clip.create_model(f"local-dir:{deep}", force_image_size=(48, 80))
    backbone = loaded(deep).to(device).eval()
    other.visual.positional_embedding.data = other.visual.positional_embedding.data.clone()
    outputs = []
    for block in other.visual.transformer.resblocks:
        block.register_forward_hook(lambda _m, _i, y: outputs.append(y))
    other.eval().to(device).visual(images(48, 80).to(device))
    for ours, index in zip(backbone(images(48, 80).to(device)), backbone.out_indices, strict=True):
        expected = outputs[index][:, 1:].transpose(1, 2).unflatten(2, (6, 10))
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_recomputation_gives_the_same_gradients(folder, device):
    gradients = []
    for with_cp in (False, True):
        backbone = loaded(folder, with_cp=with_cp, out_indices=(0, 1)).to(device).train()
        sum(f.square().mean() for f in backbone(images().to(device))).backward()
        gradients.append([p.grad for p in backbone.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_autocast_stays_close(deep, device):
    backbone = loaded(deep).to(device).eval()
    full = backbone(images().to(device))
    with torch.autocast(device.type, torch.bfloat16):
        half = backbone(images().to(device))
    for level, other in zip(full, half, strict=True):
        assert (level - other).abs().mean() < 0.05 * level.abs().mean()


def test_it_compiles(folder, device):
    backbone = loaded(folder, out_indices=(0,)).to(device).eval()
    compiled = torch.compile(backbone, backend="aot_eager")
    torch.testing.assert_close(
        compiled(images().to(device))[0], backbone(images().to(device))[0], rtol=1e-4, atol=1e-5
    )
    torch._dynamo.reset()


@pytest.mark.parametrize("layout", ["open_clip", "openai"])
def test_published_layouts_are_read(layout, folder, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(CONFIG))
    state = load_file(folder / "open_clip_model.safetensors")
    path = tmp_path / "ViT.pt"
    if layout == "open_clip":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    else:
        state = {k: v.half() for k, v in state.items()}
        torch.jit.save(torch.jit.script(Archive(state)), path)
    backbone = OpenClipViT(str(config), weights=str(path), out_indices=(0, 1))
    backbone.init_weights()
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, state[name].float()), name


class Archive(nn.Module):
    """Weights by their names, and three numbers beside them, as OpenAI's TorchScript files."""

    def __init__(self, state):
        super().__init__()
        for name in ("input_resolution", "context_length", "vocab_size"):
            self.register_buffer(name, torch.tensor(32))
        for name, value in state.items():
            *parents, last = name.split(".")
            module = self
            for parent in parents:
                if parent not in module._modules:
                    module.add_module(parent, Part())
                module = module._modules[parent]
            module.register_buffer(last, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Part(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_a_file_that_does_not_fit_is_refused(folder, tmp_path):
    config, path = tmp_path / "config.json", tmp_path / "other.pt"
    config.write_text(json.dumps(CONFIG))
    torch.save({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"other\.pt does not fit .*config\.json"):
        OpenClipViT(str(config), weights=str(path), out_indices=(0, 1)).init_weights()


def test_the_activation_is_that_of_the_weights():
    def activations(**kwargs):
        with torch.device("meta"):
            visual = OpenClipViT(**kwargs).visual
        return {type(block.mlp.gelu).__name__ for block in visual.transformer.resblocks}

    assert activations(model="ViT-B-32", weights="openai") == {"QuickGELU"}
    assert activations(model="ViT-B-32", weights="laion2b_s34b_b79k") == {"GELU"}


@pytest.mark.parametrize("tune", ["full", "frozen", "lora"])
@pytest.mark.parametrize("injection", ["subtract", "none"])
def test_weights_are_read_under_the_wrapper(folder, tune, injection, device):
    config = dict(type="OpenClipViT", model=str(folder), out_indices=(0, 1))
    backbone = MODELS.build(
        dict(type="DominoBackbone", backbone=config, domain_channels=6, tune=tune,
             injection=injection)
    )  # fmt: skip
    backbone.init_weights()
    plain = loaded(folder, out_indices=(0, 1)).to(device)
    state = backbone.to(device).state_dict()
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())
    domain = torch.randn(2, 6, generator=torch.Generator().manual_seed(3)).to(device)
    for ours, theirs in zip(
        backbone.eval()(images().to(device), domain), plain.eval()(images().to(device)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    trained = {n for n, p in backbone.named_parameters() if p.requires_grad}
    new = {n for n, _ in backbone.named_parameters() if n.startswith("domain.") or ".lora_" in n}
    assert trained == (set(dict(backbone.named_parameters())) if tune == "full" else new)
    if trained:
        sum(f.square().mean() for f in backbone.train()(images().to(device), domain)).backward()
    assert {n for n, p in backbone.named_parameters() if p.grad is not None} == trained


def test_adapters_are_saved_and_read(folder, device):
    config = dict(
        type="DominoBackbone", domain_channels=6, tune="lora",
        backbone=dict(type="OpenClipViT", model=str(folder), out_indices=(0, 1)),
    )  # fmt: skip
    backbone, other = MODELS.build(config), MODELS.build(config).to(device)
    backbone.init_weights()
    backbone.to(device)
    domain = torch.randn(2, 6, generator=torch.Generator().manual_seed(3)).to(device)
    optimizer = torch.optim.Adam([p for p in backbone.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        sum(f.square().mean() for f in backbone.train()(images().to(device), domain)).backward()
        optimizer.step()
    state = {k: v.clone() for k, v in backbone.state_dict().items()}
    assert any(v.any() for k, v in state.items() if ".lora_B." in k)
    other.load_state_dict(state)
    for ours, theirs in zip(
        backbone.eval()(images().to(device), domain),
        other.eval()(images().to(device), domain),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_random_weights_are_asked_for(folder):
    torch.manual_seed(0)
    one, other = OpenClipViT(str(folder), weights=None), OpenClipViT(str(folder), weights=None)
    assert not torch.equal(one.visual.conv1.weight, other.visual.conv1.weight)
    one.init_weights()
    published = loaded(folder).visual.conv1.weight
    assert F.mse_loss(one.visual.conv1.weight, published) > 0


def test_what_is_wrong_is_said(folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    with pytest.raises(ValueError, match=r"unknown open_clip model 'ViT-B-31'; near it are: ViT-B"):
        OpenClipViT("ViT-B-31")
    with pytest.raises(ValueError, match="has no weights 'opnai'; open_clip knows: openai"):
        OpenClipViT("ViT-B-32", "opnai")
    with torch.device("meta"), pytest.raises(ValueError, match=r"is a ModifiedResNet, no vision"):
        OpenClipViT("RN50")
    with pytest.raises(ValueError, match=r"out_indices \[2\] do not exist"):
        OpenClipViT(str(folder), out_indices=(2,))
    with pytest.raises(ValueError, match="not both"):
        OpenClipViT(str(folder), init_cfg=dict(type="Pretrained", checkpoint="x.pth"))
    with pytest.raises(FileNotFoundError, match="holds no open_clip model"):
        OpenClipViT(str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with torch.device("meta"):
        backbone = OpenClipViT("ViT-B-32", "openai")
    with pytest.raises(FileNotFoundError, match=r"HF_HUB_OFFLINE=0 python -c .*'ViT-B-32'"):
        backbone.init_weights()


@pytest.mark.parametrize(
    ("tune", "adapter"),
    [("rein", dict(token_length=4, rank=2)), ("soma", dict(rank=2, start_block=1))],
)
def test_rein_and_soma_start_close_to_it_and_train(folder, tune, adapter):
    config = dict(type="OpenClipViT", model=str(folder), out_indices=(0, 1))
    backbone = MODELS.build(
        dict(type="DominoBackbone", backbone=config, domain_channels=6, tune=tune,
             adapter=adapter, injection="none")
    )  # fmt: skip
    backbone.init_weights()
    for ours, theirs in zip(
        backbone.eval()(images()), loaded(folder, out_indices=(0, 1)).eval()(images()), strict=True
    ):
        assert (ours - theirs).abs().max() < 0.02 * theirs.abs().max()
    sum(f.square().mean() for f in backbone.train()(images())).backward()
    trained = {n for n, p in backbone.named_parameters() if p.requires_grad}
    assert {n for n, p in backbone.named_parameters() if p.grad is not None} == trained
    inside = {"rein": r"^reins\.", "soma": r"resblocks\.1\..*(lora_|bias)"}[tune]
    assert all(re.search(inside, n) for n in trained)
    if tune == "soma":
        assert any(n.endswith("attn.in_proj_bias") for n in trained)
