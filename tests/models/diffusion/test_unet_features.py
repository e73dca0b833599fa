"""The UNet's pass against diffusers' own modules, watched from outside."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from mmseg_domino.models.diffusion.unet_features import _Pass, place_processors, unet_features
from mmseg_domino.models.layers import AttentionMapProcessor

from .vpd_models import UNET, randomise

NUM_CLASSES = 5
SD2 = dict(attention_head_dim=(1, 2, 4, 4), use_linear_projection=True, cross_attention_dim=20)
#: The modules whose outputs are VPD's features, finest first.
MODULES = ("up_blocks.3", "up_blocks.2.attentions.1", "up_blocks.1.attentions.1",
           "up_blocks.0.resnets.1")  # fmt: skip


class _Explicit(AttnProcessor):
    """diffusers' explicit attention; keeps every map."""

    def __init__(self):
        self.maps = []

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **kwargs):
        if encoder_hidden_states is not None:
            query = attn.head_to_batch_dim(attn.to_q(hidden_states))
            key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
            scores = attn.get_attention_scores(query, key)
            heads = scores.unflatten(0, (len(hidden_states), attn.heads))
            self.maps.append(heads.mean(dim=1))
        return super().__call__(attn, hidden_states, encoder_hidden_states, **kwargs)


def build(**kwargs):
    unet = UNet2DConditionModel(**{**UNET, **kwargs}).eval()
    randomise(unet)
    return unet


def watched(unet, latent, context, timestep=1):
    """Features and maps by level, the original's way: everything run, every map kept."""
    outputs = {}

    def note(name):
        def hook(_module, _args, output):
            outputs[name] = output[0] if isinstance(output, tuple) else output

        return hook

    hooks = [unet.get_submodule(n).register_forward_hook(note(n)) for n in MODULES]
    processors = {
        name: _Explicit() if ".attn2." in name else AttnProcessor() for name in unet.attn_processors
    }
    unet.set_attn_processor(dict(processors))  # diffusers empties it
    unet(latent, timestep, encoder_hidden_states=context)
    for hook in hooks:
        hook.remove()
    by_tokens: dict[int, list] = {}
    for name, processor in processors.items():
        if ".attn2." in name and not name.startswith("mid_block"):
            for attention in processor.maps:
                by_tokens.setdefault(attention.shape[1], []).append(attention)
    means = {tokens: torch.stack(some).mean(dim=0) for tokens, some in by_tokens.items()}
    return [outputs[name] for name in MODULES], means


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (2, 4, 16, 16)),
        ({}, (2, 4, 8, 24)),
        ({}, (1, 4, 64, 64)),  # maps of 64 x 64, which VPD drops by default
        (SD2, (2, 4, 16, 16)),
        (SD2, (1, 4, 24, 8)),
    ],
)
@torch.no_grad()
def test_features_and_maps_are_those_of_diffusers_modules(options, shape, device):
    unet = build(**options).to(device)
    torch.manual_seed(1)
    latent = torch.randn(shape).to(device)
    h, w = shape[2:]
    context = torch.randn(len(latent), NUM_CLASSES, unet.config.cross_attention_dim).to(device) * 5
    expected, maps = watched(unet, latent, context, timestep=7)

    place_processors(unet, NUM_CLASSES)
    features, ours = unet_features(unet, latent, 7, context, (0, 1, 2))
    for level, (feature, reference) in enumerate(zip(features, expected, strict=True)):
        torch.testing.assert_close(feature, reference, atol=2e-5, rtol=1e-4)
        tokens = (h >> level) * (w >> level)
        if level < 3:
            torch.testing.assert_close(ours[level], maps[tokens], atol=1e-6, rtol=1e-4)
    assert ours[3] is None


@torch.no_grad()
def test_a_further_token_is_attended_to_and_gets_no_map(device):
    unet = build().to(device)
    latent, context = (
        torch.randn(1, 4, 8, 8).to(device),
        torch.randn(1, NUM_CLASSES + 1, 12).to(device) * 5,
    )
    _, maps = watched(unet, latent, context)
    place_processors(unet, NUM_CLASSES)
    _, ours = unet_features(unet, latent, 1, context, (1,))
    torch.testing.assert_close(ours[1], maps[16][..., :NUM_CLASSES], atol=1e-6, rtol=1e-4)
    assert ours[1].sum(dim=-1).max() < 1


@pytest.mark.parametrize(("levels", "layers"), [((), 0), ((1,), 5), ((1, 2), 10), ((0, 1, 2), 15)])
@torch.no_grad()
def test_only_layers_whose_maps_are_used_compute_them(levels, layers, monkeypatch, device):
    unet = build().to(device)
    place_processors(unet, NUM_CLASSES)
    calls, inner = [], AttentionMapProcessor._probabilities
    monkeypatch.setattr(
        AttentionMapProcessor,
        "_probabilities",
        staticmethod(lambda *args: calls.append(args[0].shape) or inner(*args)),
    )
    latent, context = torch.randn(1, 4, 8, 8).to(device), torch.randn(1, NUM_CLASSES, 12).to(device)
    _, maps = unet_features(unet, latent, 1, context, levels)
    assert len(calls) == layers
    assert [level for level in range(4) if maps[level] is not None] == list(levels)


@pytest.mark.parametrize("batch", [3, 6])
@torch.no_grad()
def test_rows_of_the_context_serve_windows_and_are_projected_once(batch, device):
    unet = build().to(device)
    place_processors(unet, NUM_CLASSES)
    latent, context = (
        torch.randn(batch, 4, 8, 8).to(device),
        torch.randn(3, NUM_CLASSES, 12).to(device),
    )
    rows = []
    unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k.register_forward_hook(
        lambda _m, args, _out: rows.append(len(args[0]))
    )
    features, maps = unet_features(unet, latent, 1, context, (0, 1, 2))
    whole, whole_maps = unet_features(unet, latent, 1, context.repeat(batch // 3, 1, 1), (0, 1, 2))
    assert rows == [3, batch]
    for ours, reference in zip(features + maps[:3], whole + whole_maps[:3], strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-4)


def gradients(unet, latent, context, checkpointing):
    unet.zero_grad()
    leaf = context.clone().requires_grad_()
    features, maps = unet_features(unet, latent, 1, leaf, (1, 2), checkpointing)
    total = sum(
        (f * torch.linspace(-1, 1, f.numel(), device=f.device).view_as(f)).sum() for f in features
    )
    total = total + sum(
        (m * torch.linspace(-9, 9, m.numel(), device=m.device).view_as(m)).sum() for m in maps[1:3]
    )
    total.backward()
    named = {n: p.grad.clone() for n, p in unet.named_parameters() if p.grad is not None}
    return total.detach(), {"context": leaf.grad, **named}


def test_checkpointing_gives_the_same_gradients_and_recomputes_each_layer(device):
    unet = build().to(device).train()
    place_processors(unet, NUM_CLASSES)
    latent, context = torch.randn(2, 4, 8, 8).to(device), torch.randn(1, NUM_CLASSES, 12).to(device)
    runs = []
    unet.up_blocks[1].resnets[0].register_forward_hook(lambda *_: runs.append(1))
    loss, plain = gradients(unet, latent, context, checkpointing=False)
    assert len(runs) == 1
    same_loss, ours = gradients(unet, latent, context, checkpointing=True)
    assert len(runs) == 3
    assert torch.equal(loss, same_loss)
    assert set(ours) == set(plain)
    # All but the output layers, which are not run.
    missing = set(dict(unet.named_parameters())) - set(ours)
    assert {name.split(".")[0] for name in missing} == {"conv_norm_out", "conv_out"}
    for name, gradient in plain.items():
        torch.testing.assert_close(ours[name], gradient, msg=lambda m, n=name: f"{n}: {m}")


def test_checkpointing_keeps_less(device):
    unet = build().to(device).train()
    place_processors(unet, NUM_CLASSES)
    latent, context = (
        torch.randn(1, 4, 16, 16).to(device),
        torch.randn(1, NUM_CLASSES, 12).to(device),
    )

    def saved(checkpointing):
        sizes = []

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            unet_features(unet, latent, 1, context, (1, 2), checkpointing)
        return sum(sizes)

    assert saved(True) < 0.25 * saved(False)


def test_means_of_maps_are_summed_in_place():
    state = _Pass(None, None, (), False)
    some = [torch.rand(2, 6, 3) for _ in range(5)]
    expected = torch.stack(some).mean(dim=0)
    other = torch.rand(2, 2, 3)
    kept = some[0].data_ptr()
    for one in some:
        state.add_map(1, one)
    state.add_map(0, other.clone())
    assert state.sums[1].data_ptr() == kept
    torch.testing.assert_close(state.mean_map(1), expected)
    torch.testing.assert_close(state.mean_map(0), other)
    assert state.mean_map(2) is None
