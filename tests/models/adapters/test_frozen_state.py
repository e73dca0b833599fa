import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.runner.checkpoint import get_state_dict
from torch import nn

from mmseg_domino.models.adapters.frozen_state import FINGERPRINT, keep_out_frozen


def network(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    net[0].requires_grad_(False)
    net[2].bias.requires_grad_(False)
    return net


KEPT = {
    "1.weight",
    "1.bias",
    "1.running_mean",
    "1.running_var",
    "1.num_batches_tracked",
    "2.weight",
}
FROZEN = {"0.weight", "0.bias", "2.bias"}


@pytest.mark.parametrize("read", [nn.Module.state_dict, get_state_dict])
def test_frozen_parameters_are_left_out_and_buffers_are_not(read):
    net = network()
    keep_out_frozen(net, save_frozen=False)
    assert set(read(net)) == KEPT | {FINGERPRINT}
    outer = nn.ModuleDict({"net": net, "head": nn.Linear(2, 2).requires_grad_(False)})
    assert set(read(outer)) == {f"net.{n}" for n in KEPT | {FINGERPRINT}} | {
        "head.weight", "head.bias",
    }  # fmt: skip


def test_with_save_frozen_nothing_is_left_out():
    net = network()
    keep_out_frozen(net, save_frozen=True)
    assert set(net.state_dict()) == KEPT | FROZEN


@pytest.mark.parametrize("save_frozen", [True, False])
def test_loading_restores_the_whole(save_frozen, device):
    net, other = network().to(device), network().to(device)
    keep_out_frozen(net, save_frozen=False)
    keep_out_frozen(other, save_frozen=save_frozen)
    with torch.no_grad():
        net[2].weight.add_(1)
        net[1].running_mean.add_(1)
    result = other.load_state_dict(net.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys
    for (name, ours), reference in zip(other.named_parameters(), net.parameters(), strict=True):
        assert torch.equal(ours, reference), name
    assert torch.equal(other[1].running_mean, net[1].running_mean)


def test_a_whole_checkpoint_still_loads_and_wins(device):
    net = network().to(device)
    keep_out_frozen(net, save_frozen=False)
    whole = network(seed=7).to(device).state_dict()
    net.load_state_dict(whole)
    assert torch.equal(net[0].weight, whole["0.weight"])


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net[0].weight.data.add_(1e-3),
        lambda net: net[0].bias.requires_grad_(True),
        lambda net: net[1].weight.requires_grad_(False),
    ],
    ids=["other values", "fewer frozen", "more frozen"],
)
def test_over_other_weights_it_is_refused(change, device):
    net, other = network().to(device), network().to(device)
    keep_out_frozen(net, save_frozen=False)
    state = net.state_dict()
    change(other)
    keep_out_frozen(other, save_frozen=False)
    before = copy.deepcopy(list(other.parameters()))
    with pytest.raises(ValueError, match="leaves out the frozen weights of Sequential"):
        other.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))


def test_averaged_copies_keep_what_is_trained():
    """mmengine's averages are copies whose parameters all go without a gradient."""
    net = network()
    keep_out_frozen(net, save_frozen=False)
    average = ExponentialMovingAverage(net)
    assert not any(p.requires_grad for p in average.module.parameters())
    assert set(average.module.state_dict()) == KEPT | {FINGERPRINT}
    fresh = ExponentialMovingAverage(net)
    with torch.no_grad():
        average.module[2].weight.add_(1)
    fresh.load_state_dict(average.state_dict())
    assert torch.equal(fresh.module[2].weight, average.module[2].weight)


def test_the_network_itself_is_left_as_it_is():
    net = network()
    keep_out_frozen(net, save_frozen=False)
    net.state_dict(), net.state_dict()
    assert len(net._state_dict_hooks) == 1
    assert not net[0].weight.requires_grad
    # References are asked for with keep_vars, as optimisers do.
    assert net.state_dict(keep_vars=True)["2.weight"] is net[2].weight
