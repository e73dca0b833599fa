"""Normalisation whose scale and shift depend on the image's domain (Domino, arXiv 2407.03482).

Shapes: ``B`` batch, ``C`` channels, ``H W`` spatial, ``D`` embedding width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .domain_modulation import INJECTION_SIGNS, DomainModulation, check_domain

__all__ = ["NORMS", "DomainAdaptiveNorm", "TiedModulation"]

#: The affine-free normalisations that :class:`DomainAdaptiveNorm` knows.
NORMS = ("group", "layer", "instance", "batch")


class TiedModulation(nn.Module):
    """A scale and a shift that keep the embedding's own direction: ``gain * (P d)``, gain >= 0.

    In :class:`DomainModulation` the last layer can learn either sign, so that adding and
    subtracting describe the same family of functions. Here ``P`` is a fixed random projection
    with orthonormal rows or columns and only a non-negative gain a channel is learned, which
    makes the sign of the injection matter.

    Args:
        num_channels: ``C``.
        domain_channels: ``D``.

    Shape:
        - Input: ``(B, D)``.
        - Output: two tensors ``(B, C)``, zero at the start of training.
    """

    def __init__(self, num_channels: int, domain_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(domain_channels, elementwise_affine=False)
        # The same projection in every run: it is part of the architecture, not of the training.
        generator = torch.Generator(device="cpu").manual_seed(0)
        with torch.device("cpu"):
            gaussian = torch.randn(2 * num_channels, domain_channels, generator=generator)
            tall = gaussian if gaussian.shape[0] >= gaussian.shape[1] else gaussian.T
            orthonormal = torch.linalg.qr(tall).Q
            projection = orthonormal if tall is gaussian else orthonormal.T
        self.register_buffer("projection", projection.contiguous())
        self.gain = nn.Parameter(torch.zeros(2 * num_channels))

    def forward(self, domain: Tensor) -> tuple[Tensor, Tensor]:
        # clamp, unlike abs or relu, has gradient 1 at the zero where training starts
        gain = self.gain.clamp(min=0)
        scale, shift = (gain * F.linear(self.norm(domain), self.projection)).chunk(2, dim=1)
        return scale, shift


class DomainAdaptiveNorm(nn.Module):
    r"""Normalise features and scale and shift them by what the domain embedding says.

    .. math:: y = (w \pm g(d)) \cdot \mathrm{norm}(x) + (b \pm h(d))

    ``norm`` has no affine parameters, ``w = 1`` and ``b = 0`` are learned a channel, ``g`` and
    ``h`` come from :class:`DomainModulation`. At the start of training ``g = h = 0`` exactly, so
    that the layer equals the plain normalisation.

    Args:
        num_channels: ``C``.
        domain_channels: ``D``.
        norm: ``"group"``, ``"layer"`` (over the channels of each position), ``"instance"`` or
            ``"batch"``.
        injection: ``"add"``, ``"subtract"`` (the paper's choice) or ``"none"`` (the plain norm
            with its affine parameters; the embedding is ignored and may be ``None``).
        num_groups: Groups of the group norm; must divide ``num_channels``.
        hidden_channels: Width of the hidden layer of ``g`` and ``h``.
        tied: Use :class:`TiedModulation`, under which add and subtract really differ. With the
            default a learned sign makes them two starting points of the same family.
        eps: Added to the variance.

    Shape:
        - ``x``: ``(B, C, H, W)``; ``domain``: ``(B, D)``.
        - Output: ``(B, C, H, W)``, in the dtype of ``x``.

    Raises:
        ValueError: For an unknown ``norm`` or ``injection``, groups that do not divide the
            channels, features with another number of channels, or embeddings of another shape.
    """

    def __init__(
        self,
        num_channels: int,
        domain_channels: int,
        norm: str = "group",
        injection: str = "subtract",
        num_groups: int = 32,
        hidden_channels: int = 64,
        tied: bool = False,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"unknown norm {norm!r}; valid ones are {', '.join(NORMS)}")
        valid = (*INJECTION_SIGNS, "none")
        if injection not in valid:
            raise ValueError(f"unknown injection {injection!r}; valid ones are {', '.join(valid)}")
        if norm == "group" and num_channels % num_groups:
            divisors = [g for g in range(1, num_channels + 1) if num_channels % g == 0]
            raise ValueError(
                f"num_groups={num_groups} does not divide the {num_channels} channels; "
                f"choose one of {divisors}"
            )
        self.num_channels = num_channels
        self.domain_channels = domain_channels
        self.norm = norm
        self.injection = injection
        self.num_groups = num_groups
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        # A module of its own, so that SyncBN conversion finds it.
        self.batch_norm = (
            nn.BatchNorm2d(num_channels, eps=eps, affine=False) if norm == "batch" else None
        )
        self.modulation: nn.Module | None = None
        if injection != "none":
            self.modulation = (
                TiedModulation(num_channels, domain_channels)
                if tied
                else DomainModulation(num_channels, domain_channels, hidden_channels)
            )

    def _normalize(self, x: Tensor) -> Tensor:
        if self.norm == "group":
            return F.group_norm(x, self.num_groups, eps=self.eps)
        if self.norm == "instance":
            return F.group_norm(x, self.num_channels, eps=self.eps)
        if self.norm == "layer":
            channels_last = x.permute(0, 2, 3, 1)
            return F.layer_norm(channels_last, (self.num_channels,), eps=self.eps).permute(
                0, 3, 1, 2
            )
        return self.batch_norm(x)

    def forward(self, x: Tensor, domain: Tensor | None = None) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.num_channels:
            raise ValueError(
                f"DomainAdaptiveNorm was built for {self.num_channels} channels and expects "
                f"(B, {self.num_channels}, H, W), got {tuple(x.shape)}"
            )
        scale, shift = self.weight, self.bias
        if self.modulation is not None:
            domain = check_domain(domain, self.domain_channels, len(x), type(self).__name__)
            g, h = self.modulation(domain.to(self.weight.dtype))
            sign = INJECTION_SIGNS[self.injection]
            scale, shift = scale + sign * g, shift + sign * h
        scale, shift = (p.view(-1, self.num_channels, 1, 1).to(x.dtype) for p in (scale, shift))
        return torch.addcmul(shift, self._normalize(x).to(x.dtype), scale)

    def extra_repr(self) -> str:
        groups = f", num_groups={self.num_groups}" if self.norm == "group" else ""
        return (
            f"{self.num_channels}, domain_channels={self.domain_channels}, norm={self.norm}"
            f"{groups}, injection={self.injection}"
        )
