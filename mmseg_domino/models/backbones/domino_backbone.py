"""Any backbone, made domain-aware through its own normalisation layers.

Shapes: ``B`` batch, ``C`` channels, ``D`` embedding width, ``H W`` spatial.
"""

import re
from collections.abc import Sequence

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..layers.domain_affine import DomainAffineState, is_norm, make_domain_affine
from ..layers.domain_modulation import DomainModulation, check_domain

__all__ = ["DominoBackbone"]

#: Where the new parameters live, among the names of the wrapped backbone.
_DOMAIN = "domain"


@MODELS.register_module()
class DominoBackbone(BaseModule):
    r"""A backbone whose normalisation layers take each image's domain into account.

    .. math:: y = (w \pm g(d)) \cdot \mathrm{norm}(x) + (b \pm h(d))

    ``w`` and ``b`` are the layer's own, pretrained parameters; ``g`` and ``h`` come from a small
    network a layer and are exactly zero until trained. The wrapped backbone's parameters keep their
    names, as if it stood here itself: its checkpoints, those of whole stock segmentors, and
    learning rates by name work unchanged. The new parameters are called ``domain.*``.

    With gradient checkpointing inside the backbone, each forward pass must be followed by its
    backward pass before the next one, as in ordinary training.

    Args:
        backbone: Config of any registered backbone.
        domain_channels: ``D``.
        norms: ``"all"`` normalisation layers, or a regular expression that is searched for in
            their names, such as ``r"^layer[34]"``.
        norm_types: Restrict them to these class names, such as ``("BatchNorm2d",)``.
        injection: ``"subtract"``, ``"add"``, or ``"none"``: the backbone as it is.
        hidden_channels: Width of the hidden layer of ``g`` and ``h``.
        frozen: Train only ``g`` and ``h``: the backbone's own parameters and statistics stay.
        pretrained: Handed to the wrapped backbone, as segmentors do with theirs.
        init_cfg: MMEngine's initialisation config, of the wrapper.

    Shape:
        - ``x``: images ``(B, 3, H, W)``; ``domain``: ``(B, D)``.
        - Output: what the wrapped backbone gives.

    Raises:
        ValueError: If no layer is chosen, the embeddings have another shape, or a layer sees a
            batch of another size than the images.
    """

    accepts_domain = True

    def __init__(
        self,
        backbone: dict,
        domain_channels: int,
        norms: str = "all",
        norm_types: Sequence[str] | None = None,
        injection: str = "subtract",
        hidden_channels: int = 64,
        frozen: bool = False,
        pretrained: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if pretrained is not None:
            backbone = {**backbone, "pretrained": pretrained}
        wrapped = MODELS.build(backbone)
        names = [] if injection == "none" else _choose_norms(wrapped, norms, norm_types)
        self.domain_channels = domain_channels
        self.frozen = frozen
        if frozen:
            wrapped.requires_grad_(False)
        # Sharing the tables, not the entries: whatever replaces or moves a part of this module
        # (SyncBN conversion, .to()) does so for the wrapped one too. The list hides it from
        # torch, for which the parts belong to this module.
        for table in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            self.__dict__[table] = wrapped.__dict__[table]
        self._wrapped = [wrapped]
        self._keys = {name: name.replace(".", "-") for name in names}
        self._state = DomainAffineState(injection) if names else None
        self._modules[_DOMAIN] = nn.ModuleDict(
            {
                key: DomainModulation(
                    wrapped.get_submodule(name).weight.numel(), domain_channels, hidden_channels
                )
                for name, key in self._keys.items()
            }
        )
        self._adapt()

    @property
    def wrapped(self) -> nn.Module:
        """The backbone itself, which shares its parts with this module."""
        return self._wrapped[0]

    @property
    def adapted_norms(self) -> tuple[str, ...]:
        """Names of the domain-adaptive layers."""
        return tuple(self._keys)

    def _adapt(self) -> None:
        """Make the chosen layers domain-adaptive, also those that were exchanged meanwhile."""
        for name, key in self._keys.items():
            make_domain_affine(self.get_submodule(name), key, self._state)

    def init_weights(self) -> None:
        """Initialise the wrapped backbone by its own rules; ``g`` and ``h`` stay as they are."""
        domain = self._modules.pop(_DOMAIN)
        try:
            if hasattr(self.wrapped, "init_weights"):
                self.wrapped.init_weights()
        finally:
            self._modules[_DOMAIN] = domain
        self._is_init = True

    def train(self, mode: bool = True):
        """As the wrapped backbone does it; frozen ones stay in evaluation mode."""
        self.training = mode
        self.wrapped.train(mode and not self.frozen)
        self._modules[_DOMAIN].train(mode)
        return self

    def forward(self, x: Tensor, domain: Tensor | None = None) -> Sequence[Tensor]:
        if self._keys:
            domain = check_domain(domain, self.domain_channels, len(x), type(self).__name__)
            self._adapt()
            modulations = self._modules[_DOMAIN]
            self._state.values = {key: modulations[key](domain) for key in self._keys.values()}
        return self.wrapped(x)


def _choose_norms(backbone: nn.Module, pattern: str, types: Sequence[str] | None) -> list[str]:
    found = {n: type(m).__name__ for n, m in backbone.named_modules() if n and is_norm(m)}
    chosen = [
        name
        for name, kind in found.items()
        if (pattern == "all" or re.search(pattern, name)) and (types is None or kind in types)
    ]
    if not chosen:
        kinds = sorted(set(found.values()))
        raise ValueError(
            f"norms={pattern!r}, norm_types={types} choose none of the {len(found)} normalisation "
            f"layers of {type(backbone).__name__}; their types are {kinds}, the first names "
            f"{list(found)[:5]}"
        )
    return chosen
