"""The attention processor against diffusers' own, and its maps against an explicit softmax."""

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0

from mmseg_domino.models.layers import AttentionMapProcessor

B, L, N, D, HEADS, WIDTH = 4, 6, 3, 10, 2, 8


@pytest.fixture
def cross(device):
    torch.manual_seed(0)
    attn = Attention(WIDTH, cross_attention_dim=D, heads=HEADS, dim_head=WIDTH // HEADS)
    return attn.eval().to(device)


@pytest.fixture
def hidden(device):
    return torch.randn(B, L, WIDTH, generator=torch.Generator().manual_seed(1)).to(device) * 3


@pytest.fixture
def context(device):
    return torch.randn(B, N + 1, D, generator=torch.Generator().manual_seed(2)).to(device) * 3


def explicit_map(attn, hidden, context):
    """softmax(q k / sqrt(d)), mean over heads, head by head."""
    width = WIDTH // HEADS
    total = 0
    for head in range(HEADS):
        rows = slice(head * width, (head + 1) * width)
        query = hidden @ attn.to_q.weight[rows].T
        key = context @ attn.to_k.weight[rows].T
        total = total + (query @ key.transpose(1, 2) / width**0.5).softmax(dim=-1)
    return total / HEADS


@pytest.mark.parametrize("reference", [AttnProcessor(), AttnProcessor2_0()], ids=["plain", "fused"])
@pytest.mark.parametrize("wanted", [False, True])
@torch.no_grad()
def test_the_output_is_that_of_diffusers(cross, hidden, context, reference, wanted):
    cross.set_processor(reference)
    expected = cross(hidden, context)
    cross.set_processor(AttentionMapProcessor(N))
    ours = cross(hidden, context, maps=[] if wanted else None)
    torch.testing.assert_close(ours, expected)


@torch.no_grad()
def test_self_attention_is_that_of_diffusers_and_has_no_map(hidden, device):
    attn = Attention(WIDTH, heads=HEADS, dim_head=WIDTH // HEADS).eval().to(device)
    expected = attn(hidden)
    attn.set_processor(AttentionMapProcessor(N))
    maps = []
    torch.testing.assert_close(attn(hidden, maps=maps), expected)
    assert maps == []


@torch.no_grad()
def test_the_map_is_the_softmaxs_mean_over_heads_of_the_class_tokens(cross, hidden, context):
    cross.set_processor(AttentionMapProcessor(N))
    maps = []
    cross(hidden, context, maps=maps)
    assert len(maps) == 1
    torch.testing.assert_close(maps[0], explicit_map(cross, hidden, context)[..., :N])


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("wanted", [False, True])
@torch.no_grad()
def test_a_row_serves_its_images_and_is_projected_once(cross, hidden, context, rows, wanted):
    cross.set_processor(AttentionMapProcessor(N))
    few = context[:rows]
    lengths = []
    for project in (cross.to_k, cross.to_v):
        project.register_forward_hook(lambda _m, args, _out: lengths.append(len(args[0])))
    ours_maps, maps = ([], []) if wanted else (None, None)
    ours = cross(hidden, few, maps=ours_maps)
    assert lengths == [rows, rows]
    torch.testing.assert_close(ours, cross(hidden, few.repeat(B // rows, 1, 1), maps=maps))
    if wanted:
        torch.testing.assert_close(ours_maps[0], maps[0])


def test_maps_are_differentiable(cross, hidden, context):
    cross.set_processor(AttentionMapProcessor(N))
    maps, leaf = [], context.clone().requires_grad_()
    cross(hidden, leaf, maps=maps)
    (ours,) = torch.autograd.grad(maps[0].square().sum(), leaf)
    (reference,) = torch.autograd.grad(
        explicit_map(cross, hidden, leaf)[..., :N].square().sum(), leaf
    )
    torch.testing.assert_close(ours, reference)


@torch.no_grad()
def test_maps_are_float32_under_autocast(cross, hidden, context, device):
    cross.set_processor(AttentionMapProcessor(N))
    maps = []
    with torch.autocast(device.type, dtype=torch.bfloat16):
        cross(hidden, context, maps=maps)
    assert maps[0].dtype == torch.float32
    # Each is a share of one: all tokens together attend exactly once.
    whole = []
    cross.set_processor(AttentionMapProcessor(N + 1))
    with torch.autocast(device.type, dtype=torch.bfloat16):
        cross(hidden, context, maps=whole)
    torch.testing.assert_close(
        whole[0].sum(dim=-1), torch.ones(B, L, device=device), atol=1e-6, rtol=0
    )
