"""The context against VPD's text adapter and the paper's injections, written out."""

import pytest
import torch

from mmseg_domino.models.layers import ClassContext
from mmseg_domino.models.layers.class_context import CONTEXT_INJECTIONS

N, D, B = 4, 6, 3


@pytest.fixture
def tokens(device):
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0)).to(device) * 10


@pytest.fixture
def domain(device):
    return torch.randn(B, D, generator=torch.Generator().manual_seed(1)).to(device) * 10


def adapted(context, tokens):
    """t + gamma * (Linear, GELU, Linear)(t), by the error function."""
    first, _, last = context.text_adapter
    hidden = tokens @ first.weight.T + first.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    return tokens + context.gamma * (hidden @ last.weight.T + last.bias)


@pytest.mark.parametrize(
    ("injection", "scale", "factor"),
    [("add", 1.0, 1.0), ("subtract", 1.0, -1.0), ("add", 0.3, 0.3), ("subtract", 2.0, -2.0)],
)
def test_the_domain_is_added_or_subtracted(injection, scale, factor, tokens, domain, device):
    context = ClassContext(tokens, injection=injection, domain_scale=scale, gamma=0.5).to(device)
    ours = context(domain)
    assert ours.shape == (B, N, D)
    torch.testing.assert_close(ours, adapted(context, tokens)[None] + factor * domain[:, None])


def test_the_domain_is_one_more_token(tokens, domain, device):
    context = ClassContext(tokens, injection="concat", gamma=0.5).to(device)
    ours = context(domain)
    assert ours.shape == (B, N + 1, D)
    torch.testing.assert_close(ours[:, :N], adapted(context, tokens).expand(B, -1, -1))
    torch.testing.assert_close(ours[:, N], domain)


def test_without_a_domain_one_row_serves_all(tokens, domain, device):
    context = ClassContext(tokens, injection="none", gamma=0.5).to(device)
    for ours in (context(None), context(domain), context(None, batch=7)):
        torch.testing.assert_close(ours, adapted(context, tokens)[None])


def test_it_starts_as_the_class_embeddings_nearly(tokens, device):
    context = ClassContext(tokens, injection="none").to(device)
    assert torch.equal(context.gamma.detach(), torch.full((D,), 1e-4, device=device))
    assert (context()[0] - tokens).abs().max() < 1e-2
    # Training moves the adapter, never the embeddings.
    assert {n for n, _ in context.named_parameters()} == {
        "gamma", "text_adapter.0.weight", "text_adapter.0.bias", "text_adapter.2.weight",
        "text_adapter.2.bias",
    }  # fmt: skip
    assert "class_embeddings" in context.state_dict()


def test_autocast_does_not_round_it(tokens, domain, device):
    context = ClassContext(tokens, injection="subtract").to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        ours = context(domain)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, context(domain))


def test_embeddings_in_half_precision_are_kept_in_full(tokens):
    assert ClassContext(tokens.half(), injection="none").class_embeddings.dtype == torch.float32


@pytest.mark.parametrize("injection", [i for i in CONTEXT_INJECTIONS if i != "none"])
def test_embeddings_of_another_shape_are_refused(injection, tokens, domain, device):
    context = ClassContext(tokens, injection=injection).to(device)
    for wrong in (None, domain[:, :2], domain[0]):
        with pytest.raises(ValueError, match="domain"):
            context(wrong)
    with pytest.raises(ValueError, match="domain"):
        context(domain, batch=B + 1)


def test_bad_arguments_are_refused(tokens):
    with pytest.raises(ValueError, match="unknown injection 'minus'; valid ones are none"):
        ClassContext(tokens, injection="minus")
    with pytest.raises(ValueError, match=r"class embeddings must be \(N, D\), got \(1, 4, 6\)"):
        ClassContext(tokens[None])
    tokens[0, 0] = float("nan")
    with pytest.raises(ValueError, match="hold NaN or infinite values"):
        ClassContext(tokens)
