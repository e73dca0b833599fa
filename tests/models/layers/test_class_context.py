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
    context = ClassContext(tokens, injection=injection, scale=scale, gamma=0.5).to(device)
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


def test_a_gate_starts_at_plain_vpd_and_never_turns_the_sign(tokens, domain):
    context = ClassContext(tokens, injection="subtract", gate=True)
    plain = ClassContext(tokens, injection="none")
    plain.load_state_dict({k: v for k, v in context.state_dict().items() if k != "gate"})
    assert torch.equal(context(domain), plain().expand(B, -1, -1))
    context(domain).sum().backward()
    assert context.gate.grad.abs() > 0
    with torch.no_grad():
        context.gate.fill_(0.5)
    torch.testing.assert_close(context(domain), plain() - 0.5 * domain[:, None])
    with torch.no_grad():
        context.gate.fill_(-0.5)
    assert torch.equal(context(domain), plain().expand(B, -1, -1))


def test_embeddings_are_measured_from_the_centre(tokens, domain):
    context = ClassContext(tokens, injection="add", centred=True)
    with pytest.raises(RuntimeError, match="was not read"):
        context(domain)
    context.centre.set(domain[0])
    ours = context(domain)
    torch.testing.assert_close(ours[0], adapted(context, tokens))
    torch.testing.assert_close(ours[1], adapted(context, tokens) + domain[1] - domain[0])
    with pytest.raises(ValueError, match=r"the centre has the shape \(2,\)"):
        context.centre.set(domain[0, :2])


def test_each_class_may_have_a_displacement_of_its_own(tokens):
    k = 5
    table = torch.randn(k, N, D, generator=torch.Generator().manual_seed(4))
    context = ClassContext(tokens, injection="subtract", domains=k, centred=True)
    context.table.set(table)
    context.centre.set(table[2])
    scores = torch.rand(B, k).softmax(dim=1)
    ours = context(dict(scores=scores))
    for i in range(B):
        for n in range(N):
            delta = sum(scores[i, j] * table[j, n] for j in range(k)) - table[2, n]
            torch.testing.assert_close(ours[i, n], adapted(context, tokens)[n] - delta)
    with pytest.raises(ValueError, match=r"needs the scores of 5 domains .* got none"):
        context(torch.zeros(B, D))
    with pytest.raises(ValueError, match="got those of 3"):
        context(dict(scores=scores[:, :3]))


@pytest.mark.parametrize("injection", ["none", "concat"])
def test_options_without_effect_are_refused(injection, tokens):
    for options, name in (
        (dict(gate=True), "gate"),
        (dict(scale=0.5), "scale"),
        (dict(domains=3), "classwise"),
    ):
        with pytest.raises(ValueError, match=f"{name} would have no effect with injection="):
            ClassContext(tokens, injection=injection, **options)
