"""The neck that makes every feature level domain-adaptive.

Shapes: ``B`` batch, ``C`` channels, ``H W`` spatial, ``N`` attention maps, ``D`` embedding width.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..layers.domain_inputs import DomainInputs
from ..layers.domain_modulation import INJECTION_SIGNS
from ..layers.domain_norms import DomainNorms
from ..layers.level_norms import make_level_norm


@MODELS.register_module()
class DominoNorm(BaseModule):
    r"""A domain-adaptive normalisation of each feature level, optionally followed by another neck.

    .. math:: y = (1 \pm g(d)) \cdot \mathrm{norm}(x) \pm h(d)

    ``norm`` has a scale and a shift of its own; ``g`` and ``h`` come from one small network for all
    levels and are zero at the start of training.

    Attention maps that a backbone appends to a level (``DominoVPD``) are no features: a norm over
    both would drown them, for their values lie around one over the number of classes. They pass
    beside the norm, multiplied by ``map_scale``, and come after the normalised features. The
    backbone says which channels they are.

    Args:
        in_channels: Channels of each level in the order of the backbone's outputs, attention maps
            included or not.
        domain_channels: ``D``.
        norm: ``"group"``, ``"layer"`` (over the channels of each position), ``"instance"``,
            ``"batch"``, or ``"none"``: the levels as they are, as plain VPD has them.
        injection: ``"subtract"``, ``"add"``, or ``"none"``: the plain norms.
        num_groups: For ``"group"``: one number for all levels, or one a level.
        space: Of the embeddings: ``"joint"``, ``"context"``, or None for the only one there is.
        hidden_channels: Width of the network of ``g`` and ``h``.
        tied: See :class:`~mmseg_domino.models.layers.TiedModulation`.
        map_scale: Factor of attention maps. None: their number ``N``, so that they are 1 on
            average.
        neck: Config of a neck that takes the levels, such as
            ``dict(type='FPN', out_channels=256, num_outs=4)``. Its ``in_channels`` are filled in.
            It may itself accept a domain.
        map_channels: Attention maps of each level, as ``DominoVPD.map_channels`` has them; None for
            none. The segmentor fills it in.
        init_cfg: MMEngine's initialisation config.

    Shape:
        - Input: a sequence of ``(B, C_i, H_i, W_i)``, and embeddings ``(B, D)``, or by space.
        - Output: a tuple of the same shapes, or what ``neck`` makes of it.

    Raises:
        ValueError: If the number of levels or their channels are not those of ``in_channels``,
            groups do not divide the channels, or an option is unknown.
    """

    accepts_domain = True

    def __init__(
        self,
        in_channels: Sequence[int],
        domain_channels: int | None = None,
        norm: str = "group",
        injection: str = "subtract",
        num_groups: int | Sequence[int] = 32,
        space: str | None = None,
        hidden_channels: int = 64,
        tied: bool = False,
        map_scale: float | None = None,
        neck: dict | None = None,
        map_channels: Sequence[int] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        groups = [num_groups] * len(in_channels) if isinstance(num_groups, int) else num_groups
        self.map_channels = tuple(map_channels or [0] * len(in_channels))
        for name, given in (("num_groups", groups), ("map_channels", self.map_channels)):
            if len(given) != len(in_channels):
                raise ValueError(
                    f"{name} names {len(given)} levels, in_channels {len(in_channels)}; give one "
                    "a level"
                )
        if injection not in (*INJECTION_SIGNS, "none"):
            valid = ", ".join((*INJECTION_SIGNS, "none"))
            raise ValueError(f"unknown injection {injection!r}; valid ones are {valid}")
        self.in_channels, self.map_scale = tuple(in_channels), map_scale
        features = [c - m for c, m in zip(in_channels, self.map_channels, strict=True)]
        self.feature_channels = tuple(features)
        if norm == "none":
            if injection != "none":
                raise ValueError(
                    f"injection={injection!r} would have no effect without a norm; give "
                    "injection='none' for the plain levels"
                )
            self.map_scale = 1.0 if map_scale is None else map_scale
            self.norms = nn.ModuleList(nn.Identity() for _ in features)
        else:
            self.norms = nn.ModuleList(
                make_level_norm(norm, c, g) for c, g in zip(features, groups, strict=True)
            )
        self.domain: DomainNorms | None = None
        if injection != "none":
            if domain_channels is None:
                raise ValueError("DominoNorm needs domain_channels, the embeddings' width")
            options = dict(space=space, hidden_channels=hidden_channels, tied=tied)
            self.domain = DomainNorms(self.norms, domain_channels, injection, **options)
        self.neck = None
        if neck is not None:
            self.neck = MODELS.build({"in_channels": list(in_channels), **neck})

    def forward(self, features: Sequence[Tensor], domain: DomainInputs = None) -> Sequence[Tensor]:
        if len(features) != len(self.norms):
            raise ValueError(
                f"DominoNorm was built for {len(self.norms)} feature levels and got "
                f"{len(features)}; in_channels must name every output of the backbone"
            )
        parts = (self.norms, self.feature_channels, self.map_channels, features)
        held = nullcontext()
        if self.domain is not None:
            held = self.domain.state.holding(self.domain.values(domain, features[0].shape[0]))
        with held:
            levels = tuple(map(self._level, *parts))
        if self.neck is None:
            return levels
        if getattr(self.neck, "accepts_domain", False):
            return self.neck(levels, domain)
        return self.neck(levels)

    def _level(self, norm: nn.Module, channels: int, maps: int, level: Tensor) -> Tensor:
        if level.ndim != 4 or level.shape[1] != channels + maps:
            raise ValueError(
                f"DominoNorm was built for {channels} channels and {maps} attention maps and "
                f"expects (B, {channels + maps}, H, W), got {tuple(level.shape)}"
            )
        if not maps:
            return norm(level)
        features, attention = level.split([channels, maps], dim=1)
        scale = float(maps) if self.map_scale is None else self.map_scale
        normalised = norm(features)
        return torch.cat([normalised, attention.to(normalised.dtype) * scale], dim=1)
