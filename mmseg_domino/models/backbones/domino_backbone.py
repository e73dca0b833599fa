"""Any backbone, made domain-aware through its own normalisation layers.

Shapes: ``B`` batch, ``C`` channels, ``D`` embedding width, ``H W`` spatial.
"""

import inspect
import re
from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..adapters.lora import add_lora, lora_parameters, reset_lora, train_lora
from ..layers.domain_affine import DomainAffineState, is_norm, make_domain_affine
from ..layers.domain_modulation import DomainModulation, check_domain
from .missing_weights import explain_missing_weights

__all__ = ["TUNING", "DominoBackbone"]

#: What of the wrapped backbone is trained, beside the new parameters.
TUNING = ("full", "frozen", "lora")

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

    With ``injection="none"`` it is the plain backbone, trained as ``tune`` says.

    Args:
        backbone: Config of any registered backbone.
        domain_channels: ``D``.
        norms: ``"all"`` normalisation layers, or a regular expression that is searched for in
            their names, such as ``r"^layer[34]"``.
        norm_types: Restrict them to these class names, such as ``("BatchNorm2d",)``.
        injection: ``"subtract"``, ``"add"``, or ``"none"``: the backbone as it is.
        hidden_channels: Width of the hidden layer of ``g`` and ``h``.
        tune: ``"full"`` trains the backbone's own parameters too; ``"frozen"`` keeps them and its
            statistics; ``"lora"`` keeps them and trains low-rank adapters beside its layers. ``g``
            and ``h`` are trained in each case.
        lora: For ``tune="lora"``; see :data:`~mmseg_domino.models.adapters.lora.LORA_OPTIONS`.
        pretrained: Handed to the wrapped backbone, as segmentors do with theirs.
        init_cfg: MMEngine's initialisation config, of the wrapper.

    Shape:
        - ``x``: images ``(B, 3, H, W)``; ``domain``: ``(B, D)``.
        - Output: what the wrapped backbone gives.

    Raises:
        ValueError: If the backbone needs more than the images, no layer is chosen, the embeddings
            have another shape, or a layer sees a batch of another size than the images.
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
        tune: str = "full",
        lora: Mapping | None = None,
        pretrained: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if tune not in TUNING:
            raise ValueError(f"unknown tune {tune!r}; valid ones are {', '.join(TUNING)}")
        if lora is not None and tune != "lora":
            raise ValueError(f"`lora` goes with tune='lora', got tune={tune!r}")
        if pretrained is not None:
            backbone = {**backbone, "pretrained": pretrained}
        wrapped = MODELS.build(backbone)
        _check_wrappable(wrapped)
        names = [] if injection == "none" else _choose_norms(wrapped, norms, norm_types)
        self.domain_channels = domain_channels
        self.tune = tune
        if tune == "lora":
            add_lora(wrapped, dict(lora or {}))
        if tune != "full":
            wrapped.requires_grad_(False)
        if tune == "lora":
            for parameter in lora_parameters(wrapped):
                parameter.requires_grad_(True)
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
        wrapped, domain = self.wrapped, self._modules.pop(_DOMAIN)
        # MMEngine's record of the initialisation, which a segmentor gives to all of its parts.
        record = self.__dict__.get("_params_init_info")
        if record is not None:
            wrapped._params_init_info = record
        try:
            if hasattr(wrapped, "init_weights"):
                with explain_missing_weights(wrapped):
                    wrapped.init_weights()
            if self.tune == "lora":
                reset_lora(wrapped)
        finally:
            self._modules[_DOMAIN] = domain
            if record is not None:
                del wrapped._params_init_info
        self._is_init = True

    def train(self, mode: bool = True):
        """As the wrapped backbone does it; frozen ones stay in evaluation mode."""
        self.training = mode
        self.wrapped.train(mode and self.tune == "full")
        if self.tune == "lora":
            train_lora(self.wrapped, mode)
        self._modules[_DOMAIN].train(mode)
        return self

    def forward(self, x: Tensor, domain: Tensor | None = None) -> Sequence[Tensor]:
        if not self._keys:
            return self.wrapped(x)
        domain = check_domain(domain, self.domain_channels, len(x), type(self).__name__)
        self._adapt()
        modulations = self._modules[_DOMAIN]
        values = {key: modulations[key](domain) for key in self._keys.values()}
        with self._state.holding(values):
            outputs = self.wrapped(x)
            # A compiled graph holds the values that its own recomputation needs.
            if torch.is_grad_enabled() and not torch.compiler.is_compiling():
                self._state.remember(outputs)
        return outputs


def _check_wrappable(backbone: nn.Module) -> None:
    name = type(backbone).__name__
    if isinstance(backbone, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        raise ValueError(f"{name} runs whatever parts it has and so cannot be given new ones")
    if hasattr(backbone, _DOMAIN):
        raise ValueError(f"{name} has a part called {_DOMAIN!r} already, which DominoBackbone adds")
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [
        p.name
        for p in inspect.signature(backbone.forward).parameters.values()
        if p.kind in kinds and p.default is inspect.Parameter.empty
    ]
    if len(needed) != 1:
        raise ValueError(
            f"DominoBackbone calls backbone(images); {name}.forward needs {needed or 'no input'}"
        )


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
