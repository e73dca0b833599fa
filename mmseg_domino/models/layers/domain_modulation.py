"""From a domain embedding to the scales and shifts of normalisation layers.

Shapes: ``B`` batch, ``C`` channels of all layers together, ``D`` embedding width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels import full_precision, is_exporting

#: How the two signed injections enter a sum: ``x + sign * d``.
INJECTION_SIGNS = {"add": 1.0, "subtract": -1.0}


def check_domain(domain: Tensor | None, channels: int, batch: int, where: str) -> Tensor:
    """Return ``domain`` if it has the shape ``(batch, channels)``, else say what is wrong.

    Its values are checked where embeddings are made: reading them back here would make each step
    wait for the device.
    """
    if domain is None:
        raise ValueError(
            f"{where} needs a domain embedding of shape ({batch}, {channels}) and got none. Add "
            "LoadDomainEmbedding or EncodeDomain to the pipeline and pack with PackDominoInputs."
        )
    if domain.shape != (batch, channels):
        raise ValueError(
            f"{where} expects domain embeddings of shape ({batch}, {channels}), "
            f"got {tuple(domain.shape)}. Its domain_channels must equal the width of the stored "
            "embeddings (`joint` and `context` spaces can differ in width)."
        )
    return domain


def _standardise(domain: Tensor) -> Tensor:
    # Text states in `context` space have a norm of about 28, joint embeddings of 1: without this
    # one learning rate could not serve both.
    return F.layer_norm(domain.float(), domain.shape[-1:])


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight.float(), layer.bias.float())


class DomainModulation(nn.Module):
    """Scale and shift of every channel of every layer, from one small network.

    A trunk (Linear, GELU) is shared by all layers; one fused projection has a row for each scale
    and shift, as PixArt's adaLN-single has one network for all blocks (arXiv 2310.00426). The
    projection starts at zero, so that a pretrained network is left undisturbed. Computed in
    float32 whatever the autocast and the parameters' type.

    Args:
        num_channels: ``C``, the sum over the layers.
        domain_channels: ``D``, the width of the domain embedding.
        hidden_channels: Width of the trunk.

    Shape:
        - Input: ``(B, D)``.
        - Output: ``(B, 2, C)`` float32, unbounded: scales, then shifts.
    """

    def __init__(self, num_channels: int, domain_channels: int, hidden_channels: int = 64) -> None:
        super().__init__()
        for name, value in (
            ("num_channels", num_channels),
            ("domain_channels", domain_channels),
            ("hidden_channels", hidden_channels),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.hidden = nn.Linear(domain_channels, hidden_channels)
        self.out = nn.Linear(hidden_channels, 2 * num_channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, domain: Tensor) -> Tensor:
        with full_precision(domain.device):
            hidden = F.gelu(_linear(self.hidden, _standardise(domain)))
            return _linear(self.out, hidden).unflatten(1, (2, -1))


class TiedModulation(nn.Module):
    """Scales and shifts that keep the embedding's own direction: ``gain * (P d)``, gain >= 0.

    In :class:`DomainModulation` the projection can learn either sign, so that adding and
    subtracting describe the same family of functions. Here ``P`` is a fixed random projection
    with orthonormal rows or columns and only a non-negative gain a channel is learned, which
    makes the sign of the injection matter.

    The gain is brought back to zero where a training step took it below, before it is used again
    (projected gradient descent). A clamp in the graph would have no gradient there, and a channel
    that went below once would stay at zero for good.

    Args:
        num_channels: ``C``.
        domain_channels: ``D``.

    Shape:
        - Input: ``(B, D)``.
        - Output: ``(B, 2, C)`` float32, zero at the start of training.
    """

    def __init__(self, num_channels: int, domain_channels: int) -> None:
        super().__init__()
        # The same projection in every run: it is part of the architecture, not of the training.
        generator = torch.Generator(device="cpu").manual_seed(0)
        with torch.device("cpu"):
            gaussian = torch.randn(2 * num_channels, domain_channels, generator=generator)
            tall = gaussian if gaussian.shape[0] >= gaussian.shape[1] else gaussian.T
            orthonormal = torch.linalg.qr(tall).Q
            projection = orthonormal if tall is gaussian else orthonormal.T
        self.register_buffer("projection", projection.contiguous())
        self.gain = nn.Parameter(torch.zeros(2 * num_channels))

    def forward(self, domain: Tensor) -> Tensor:
        with full_precision(domain.device):
            projected = F.linear(_standardise(domain), self.projection.float())
            return (project_gain(self.gain).float() * projected).unflatten(1, (2, -1))


def project_gain(gain: nn.Parameter) -> Tensor:
    """A gain that training keeps at zero or above, brought back there in place."""
    # Not through autograd, and not counted as a change: earlier passes may await their gradient.
    # An exported graph changes no weights; the pass before its tracing has brought this one back.
    if not is_exporting():
        gain.data.clamp_(min=0)
    return gain
