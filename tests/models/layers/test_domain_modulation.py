"""The network behind scales and shifts."""

import pytest
import torch

from mmseg_domino.models.layers import DomainModulation, TiedModulation

B, C, D = 3, 8, 6


@pytest.fixture
def domain(device):
    return torch.randn(B, D, generator=torch.Generator().manual_seed(1)).to(device) * 28


@pytest.mark.parametrize("kind", [DomainModulation, TiedModulation])
def test_it_starts_at_zero_and_trains_from_there(kind, domain):
    modulation = kind(C, D).to(domain.device)
    values = modulation(domain)
    assert values.shape == (B, 2, C)
    assert not values.any()
    values.sum().backward()
    last = modulation.gain if kind is TiedModulation else modulation.out.weight
    assert last.grad.abs().sum() > 0


def test_it_is_the_network_of_its_description(domain):
    modulation = DomainModulation(C, D, hidden_channels=5).to(domain.device)
    torch.nn.init.normal_(modulation.out.weight)
    x = (domain - domain.mean(1, keepdim=True)) / (domain.var(1, False, keepdim=True) + 1e-5).sqrt()
    hidden = x @ modulation.hidden.weight.T + modulation.hidden.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    expected = hidden @ modulation.out.weight.T + modulation.out.bias
    torch.testing.assert_close(modulation(domain), expected.view(B, 2, C))


def test_it_is_computed_in_float32_whatever_surrounds_it(domain):
    modulation = DomainModulation(C, D).to(domain.device)
    torch.nn.init.normal_(modulation.out.weight)
    exact = modulation(domain)
    with torch.autocast(domain.device.type, torch.bfloat16):
        assert torch.equal(modulation(domain), exact)
    assert modulation.bfloat16()(domain).dtype == torch.float32


def train(modulation, domain, sign, steps=20):
    optimizer = torch.optim.AdamW(modulation.parameters(), lr=0.05, weight_decay=0.01)
    torch.manual_seed(5)
    target = torch.randn(B, 2, C).to(domain.device)
    for _ in range(steps):
        optimizer.zero_grad()
        (sign * modulation(domain) - target).square().mean().backward()
        optimizer.step()
    return sign * modulation(domain).detach()


@pytest.mark.parametrize("kind", [DomainModulation, TiedModulation])
def test_training_with_either_sign_is_the_same_unless_tied(kind, domain):
    torch.manual_seed(0)
    first, second = (kind(C, D).to(domain.device) for _ in range(2))
    second.load_state_dict(first.state_dict())
    added, subtracted = train(first, domain, 1.0), train(second, domain, -1.0)
    assert added.abs().max() > 0.1
    assert torch.allclose(added, subtracted, atol=1e-5) is (kind is DomainModulation)


def test_a_tied_channel_that_went_below_zero_comes_back(domain):
    modulation = TiedModulation(C, D).to(domain.device)
    optimizer = torch.optim.AdamW(modulation.parameters(), lr=0.01)
    for sign in (-1.0, 1.0):
        # The sign of every channel's gradient: first all want to be negative, then positive.
        direction = sign * torch.sign(torch.nn.functional.linear(
            torch.nn.functional.layer_norm(domain[:1], (D,)), modulation.projection
        ))  # fmt: skip
        for _ in range(40):
            optimizer.zero_grad()
            (-(modulation(domain[:1]).flatten(1) * direction).sum()).backward()
            optimizer.step()
        modulation(domain)
        assert (modulation.gain >= 0).all()
        assert bool((modulation.gain > 0).all()) is (sign > 0)


def test_the_tied_projection_is_orthonormal_and_the_same_in_every_run():
    for channels, width in ((4, 32), (32, 4)):
        p = TiedModulation(channels, width).projection
        gram = p @ p.T if p.shape[0] <= p.shape[1] else p.T @ p
        torch.testing.assert_close(gram, torch.eye(len(gram)), atol=1e-5, rtol=0)
        torch.manual_seed(torch.seed() % 1000)
        torch.testing.assert_close(p, TiedModulation(channels, width).projection)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="hidden_channels must be at least 1, got 0"):
        DomainModulation(C, D, 0)
