"""The neck that makes every feature level domain-adaptive.

Shapes: ``B`` batch, ``C`` channels, ``H W`` spatial, ``D`` embedding width.
"""

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..layers.domain_adaptive_norm import DomainAdaptiveNorm

__all__ = ["DominoNorm"]


@MODELS.register_module()
class DominoNorm(BaseModule):
    """One :class:`DomainAdaptiveNorm` a feature level, optionally followed by another neck.

    Args:
        in_channels: ``C`` of each level, in the order of the backbone's outputs.
        domain_channels: ``D``.
        norm: See :class:`DomainAdaptiveNorm`.
        injection: See :class:`DomainAdaptiveNorm`.
        num_groups: One number for all levels, or one a level.
        hidden_channels: See :class:`DomainAdaptiveNorm`.
        tied: See :class:`DomainAdaptiveNorm`.
        neck: Config of a neck that takes the normalised levels, such as
            ``dict(type='FPN', in_channels=..., out_channels=256, num_outs=4)``. It may itself
            accept a domain.
        init_cfg: MMEngine's initialisation config.

    Shape:
        - Input: a sequence of ``(B, C_i, H_i, W_i)``, and embeddings ``(B, D)``.
        - Output: a tuple of the same shapes, or what ``neck`` makes of it.

    Raises:
        ValueError: If the number of levels is not that of ``in_channels``, and as
            :class:`DomainAdaptiveNorm` does.
    """

    accepts_domain = True

    def __init__(
        self,
        in_channels: Sequence[int],
        domain_channels: int,
        norm: str = "group",
        injection: str = "subtract",
        num_groups: int | Sequence[int] = 32,
        hidden_channels: int = 64,
        tied: bool = False,
        neck: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        groups = [num_groups] * len(in_channels) if isinstance(num_groups, int) else num_groups
        if len(groups) != len(in_channels):
            raise ValueError(
                f"num_groups names {len(groups)} levels, in_channels {len(in_channels)}; give one "
                "number for all levels or one a level"
            )
        self.norms = nn.ModuleList(
            DomainAdaptiveNorm(
                channels,
                domain_channels,
                norm=norm,
                injection=injection,
                num_groups=level_groups,
                hidden_channels=hidden_channels,
                tied=tied,
            )
            for channels, level_groups in zip(in_channels, groups, strict=True)
        )
        self.neck = MODELS.build(neck) if neck is not None else None

    def forward(self, features: Sequence[Tensor], domain: Tensor | None = None) -> Sequence[Tensor]:
        if len(features) != len(self.norms):
            raise ValueError(
                f"DominoNorm was built for {len(self.norms)} feature levels and got "
                f"{len(features)}; in_channels must name every output of the backbone"
            )
        normalized = tuple(
            norm(level, domain) for norm, level in zip(self.norms, features, strict=True)
        )
        if self.neck is None:
            return normalized
        if getattr(self.neck, "accepts_domain", False):
            return self.neck(normalized, domain)
        return self.neck(normalized)
