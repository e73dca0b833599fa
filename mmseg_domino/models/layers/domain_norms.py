"""The normalisation layers of a network, made domain-adaptive.

Shapes: ``B`` batch, ``C`` channels of a layer, ``D`` embedding width.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from ...utils.options import complete_options
from .domain_adaptive_norm import DomainAdaptiveNorm, DomainState, is_norm
from .domain_inputs import Centre, DomainInputs, take_domain
from .domain_modulation import INJECTION_SIGNS, DomainModulation, TiedModulation, check_domain

#: What ``norms = dict(...)`` may hold, with its defaults.
NORM_OPTIONS = {
    # "all" normalisation layers, or a regular expression that is searched for in their names.
    "layers": "all",
    # Only these classes, such as ("BatchNorm2d",).
    "types": None,
    # "subtract" or "add" g and h; None: as the backbone's own `injection` says.
    "injection": None,
    # Space of the embeddings: "joint", "context", or None for the only one that samples carry.
    "space": None,
    # Width of the trunk that all layers share.
    "hidden_channels": 64,
    # TiedModulation instead of DomainModulation.
    "tied": False,
}
#: By these names backbones say that they recompute blocks in the backward pass.
_CHECKPOINTING = ("with_cp", "use_checkpoint", "gradient_checkpointing")


def norm_options(norms: str | Mapping | None) -> dict | None:
    """The options that a backbone's argument ``norms`` stands for."""
    if norms is None:
        return None
    given = {"layers": norms} if isinstance(norms, str) else norms
    options = complete_options(given, NORM_OPTIONS, "norms")
    try:
        re.compile(options["layers"])
    except (re.error, TypeError) as error:
        raise ValueError(
            "norms.layers is 'all' or a regular expression, such as r'^layer[34]'; got "
            f"{options['layers']!r} ({error})"
        ) from error
    return options


class DomainNorms(nn.Module):
    r"""What makes a network's norm layers domain-adaptive: they are replaced in place.

    .. math:: y = (1 \pm g(d)) \cdot \mathrm{norm}(x) \pm h(d)

    All layers share one :class:`DomainModulation`. At the start of training ``g = h = 0``. With a
    centre ``c``, ``g(d) - g(c)`` and ``h(d) - h(c)`` take their place: at the centre the network is
    the plain one, always.

    Args:
        network: Its layers are replaced by :class:`DomainAdaptiveNorm`; names in its state dict
            stay.
        domain_channels: ``D``.
        injection: ``"subtract"`` or ``"add"``.
        layers, types, space, hidden_channels, tied: See :data:`NORM_OPTIONS`.
        centred: Whether there is a centre.

    Raises:
        ValueError: If no layer is chosen, or ``injection`` is unknown.
    """

    def __init__(
        self,
        network: nn.Module,
        domain_channels: int,
        injection: str = "subtract",
        layers: str = "all",
        types: Sequence[str] | None = None,
        space: str | None = None,
        hidden_channels: int = 64,
        tied: bool = False,
        centred: bool = False,
    ) -> None:
        super().__init__()
        if injection not in INJECTION_SIGNS:
            raise ValueError(
                f"unknown injection {injection!r} of norms; valid ones are "
                f"{', '.join(INJECTION_SIGNS)}"
            )
        self.injection, self.space, self.domain_channels = injection, space, domain_channels
        self.names = _choose(network, layers, types)
        self.state = DomainState()
        total = _replace(network, self.names, self.state)
        self.modulation = (
            TiedModulation(total, domain_channels)
            if tied
            else DomainModulation(total, domain_channels, hidden_channels)
        )
        self.centre = Centre(domain_channels) if centred else None
        self._reentrant = any(
            getattr(m, name, False) is True for m in network.modules() for name in _CHECKPOINTING
        )

    def values(self, domain: DomainInputs, batch: int) -> Tensor:
        """Signed scales and shifts ``(B, 2, sum of C)`` of a batch, float32."""
        where = type(self).__name__
        domain = take_domain(domain, self.space, where)
        domain = check_domain(domain, self.domain_channels, batch, where)
        values = self.modulation(domain)
        if self.centre is not None:
            values = values - self.modulation(self.centre()[None])
        return INJECTION_SIGNS[self.injection] * values

    def run(
        self, network: Callable, x: Tensor, domain: DomainInputs, windows: int = 1
    ) -> Sequence[Tensor]:
        """``network(x)`` with its layers under the batch's domain.

        Args:
            network: The network, or a function that runs it.
            x: Its input, ``B * windows`` long.
            domain: Of ``B`` images.
            windows: How many windows of each image ``x`` holds, a first one of all images, then a
                second one of all.
        """
        values = self.values(domain, x.shape[0] // windows)
        if windows > 1:
            values = values.repeat(windows, 1, 1)
        return self.state.run(network, x, values, self._reentrant)


def _choose(network: nn.Module, pattern: str, types: Sequence[str] | None) -> tuple[str, ...]:
    found = {n: type(m).__name__ for n, m in network.named_modules() if n and is_norm(m)}
    chosen = [
        name
        for name, kind in found.items()
        if (pattern == "all" or re.search(pattern, name)) and (types is None or kind in types)
    ]
    if not chosen:
        raise ValueError(
            f"norms: layers={pattern!r}, types={types} choose none of the {len(found)} "
            f"normalisation layers of {type(network).__name__}; their types are "
            f"{sorted(set(found.values()))}, the first names {list(found)[:5]}"
        )
    return tuple(chosen)


def _replace(network: nn.Module, names: Sequence[str], state: DomainState) -> int:
    """Put the adaptive layers into the network; the number of their channels."""
    adaptive: dict[nn.Module, DomainAdaptiveNorm] = {}
    total = 0
    for name in names:
        norm = network.get_submodule(name)
        adaptive[norm] = DomainAdaptiveNorm(norm, state, total, name)
        total += norm.weight.numel()
    # A layer that stands at two places is one layer still.
    for parent in [m for m in network.modules() if m not in adaptive.values()]:
        for child, module in list(parent._modules.items()):
            if module in adaptive:
                parent._modules[child] = adaptive[module]
    return total
