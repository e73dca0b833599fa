import pytest
import torch
from torch.nn import functional as F

from mmseg_domino.models.layers.domain_adaptive_norm import DomainAdaptiveNorm, TiedModulation

B, C, H, W, D = 3, 8, 5, 7, 6


@pytest.fixture
def features(device):
    return torch.randn(B, C, H, W, generator=torch.Generator().manual_seed(0)).to(device) * 3 + 1


@pytest.fixture
def domain(device):
    return torch.randn(B, D, generator=torch.Generator().manual_seed(1)).to(device) * 28


def plain(norm, x):
    """The normalisations of PyTorch itself, without affine parameters."""
    if norm == "group":
        return F.group_norm(x, 4)
    if norm == "instance":
        return F.instance_norm(x)
    if norm == "layer":
        return F.layer_norm(x.permute(0, 2, 3, 1), (C,)).permute(0, 3, 1, 2)
    return F.batch_norm(x, None, None, training=True)


def randomize(layer, seed=2):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("injection", ["add", "subtract", "none"])
@pytest.mark.parametrize("norm", ["group", "layer", "instance", "batch"])
def test_at_the_start_it_is_the_plain_norm(features, domain, norm, injection, tied, device):
    layer = DomainAdaptiveNorm(C, D, norm=norm, injection=injection, num_groups=4, tied=tied).to(
        device
    )
    torch.testing.assert_close(layer(features, domain), plain(norm, features))


@pytest.mark.parametrize(("injection", "sign"), [("add", 1), ("subtract", -1)])
def test_it_computes_the_equation(features, domain, injection, sign, device):
    layer = randomize(DomainAdaptiveNorm(C, D, injection=injection, num_groups=4)).to(device)
    g, h = layer.modulation(domain)
    assert g.abs().max() > 0.1
    expected = (layer.weight + sign * g)[..., None, None] * plain("group", features) + (
        layer.bias + sign * h
    )[..., None, None]
    torch.testing.assert_close(layer(features, domain), expected)


def test_each_image_gets_its_own_embedding(features, domain, device):
    layer = randomize(DomainAdaptiveNorm(C, D, num_groups=4)).to(device)
    together = layer(features, domain)
    for i in range(B):
        torch.testing.assert_close(
            together[i : i + 1],
            layer(features[i : i + 1], domain[i : i + 1]),
            rtol=1e-4,
            atol=1e-4,
        )


def test_the_modulation_trains_from_its_zero_start(features, domain, device):
    for tied in (False, True):
        layer = DomainAdaptiveNorm(C, D, num_groups=4, tied=tied).to(device)
        layer(features, domain).square().sum().backward()
        last = layer.modulation.gain if tied else layer.modulation.out.weight
        assert last.grad.abs().sum() > 0


def test_a_learned_sign_makes_add_and_subtract_one_family_but_not_when_tied(
    features, domain, device
):
    free = randomize(DomainAdaptiveNorm(C, D, injection="add", num_groups=4)).to(device)
    mirrored = DomainAdaptiveNorm(C, D, injection="subtract", num_groups=4).to(device)
    state = free.state_dict()
    for name in ("modulation.out.weight", "modulation.out.bias"):
        state[name] = -state[name]
    mirrored.load_state_dict(state)
    torch.testing.assert_close(free(features, domain), mirrored(features, domain))

    tied = TiedModulation(C, D).to(device)
    with torch.no_grad():
        tied.gain.fill_(-1.0)
    assert all(not part.any() for part in tied(domain)), "a negative gain would undo the sign"


@pytest.mark.parametrize(
    ("tied", "optimizer"),
    [(False, torch.optim.AdamW), (False, torch.optim.SGD), (True, torch.optim.AdamW)],
)
def test_training_with_either_sign_is_the_same_unless_tied(
    features, domain, tied, optimizer, device
):
    """What the documentation says of add and subtract, measured over some steps."""
    outputs, start = [], None
    for injection in ("add", "subtract"):
        layer = DomainAdaptiveNorm(C, D, injection=injection, num_groups=4, tied=tied).to(device)
        start = start or {k: v.clone() for k, v in layer.state_dict().items()}
        layer.load_state_dict(start)
        steps = optimizer(layer.parameters(), lr=0.05, weight_decay=0.01)
        target = torch.linspace(-1, 1, features.numel(), device=device).view_as(features)
        for _ in range(20):
            steps.zero_grad()
            (layer(features, domain) - target).square().mean().backward()
            steps.step()
        outputs.append(layer(features, domain).detach())
    plain = DomainAdaptiveNorm(C, D, num_groups=4).to(device)(features, domain).detach()
    assert (outputs[0] - plain).abs().max() > 0.1, "nothing was learned"
    same = torch.allclose(outputs[0], outputs[1], atol=1e-5)
    # A tied gain is kept from changing its sign.
    assert same is not tied


def test_the_tied_projection_is_orthonormal_and_the_same_in_every_run():
    for channels, width in ((4, 32), (32, 4)):
        p = TiedModulation(channels, width).projection
        gram = p @ p.T if p.shape[0] <= p.shape[1] else p.T @ p
        torch.testing.assert_close(gram, torch.eye(len(gram)), atol=1e-5, rtol=0)
        torch.manual_seed(torch.seed() % 1000)
        torch.testing.assert_close(p, TiedModulation(channels, width).projection)


def test_half_precision_features_stay_half(features, domain, device):
    layer = DomainAdaptiveNorm(C, D, num_groups=4).to(device)
    assert layer(features.bfloat16(), domain).dtype == torch.bfloat16


def test_bad_arguments_are_explained(features, domain):
    with pytest.raises(ValueError, match=r"unknown norm 'gruop'; valid ones are group, layer"):
        DomainAdaptiveNorm(C, D, norm="gruop")
    with pytest.raises(
        ValueError, match=r"unknown injection 'minus'; valid ones are add, subtract"
    ):
        DomainAdaptiveNorm(C, D, injection="minus")
    with pytest.raises(ValueError, match=r"num_groups=3 does not divide the 8 .*\[1, 2, 4, 8\]"):
        DomainAdaptiveNorm(C, D, num_groups=3)
    layer = DomainAdaptiveNorm(C, D, num_groups=4).to(features.device)
    with pytest.raises(ValueError, match=r"expects \(B, 8, H, W\), got \(3, 4, 5, 7\)"):
        layer(features[:, :4], domain)
    with pytest.raises(ValueError, match=r"needs a domain embedding .* got none"):
        layer(features)
    with pytest.raises(ValueError, match=r"shape \(3, 6\), got \(3, 5\)"):
        layer(features, domain[:, :5])
    with pytest.raises(ValueError, match=r"shape \(3, 6\), got \(1, 6\)"):
        layer(features, domain[:1])
