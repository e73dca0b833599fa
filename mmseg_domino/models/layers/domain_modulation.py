"""The small network that turns a domain embedding into a scale and a shift.

Shapes: ``B`` batch, ``C`` channels, ``D`` embedding width.
"""

from torch import Tensor, nn

__all__ = ["INJECTION_SIGNS", "DomainModulation", "check_domain"]

#: How the two signed injections enter a sum: ``x + sign * d``.
INJECTION_SIGNS = {"add": 1.0, "subtract": -1.0}


def check_domain(domain: Tensor | None, channels: int, batch: int, where: str) -> Tensor:
    """Return ``domain`` if it has the shape ``(batch, channels)``, else say what is wrong.

    That the values are finite is checked once a forward pass by the segmentor, not in each layer:
    reading them back would make every layer wait for the device.

    Args:
        domain: The domain embeddings a layer was given.
        channels: The width ``D`` that the layer was built for.
        batch: The number of images ``B`` in the layer's input.
        where: The layer's name, for the message.

    Raises:
        ValueError: If the embedding is missing or has another shape.
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


class DomainModulation(nn.Module):
    """Predict a per-channel scale and shift from a domain embedding: ``d -> (g(d), h(d))``.

    One MLP (Linear, GELU, Linear) gives both. Its last layer starts at zero, so that ``g`` and
    ``h`` are exactly zero until it is trained and a pretrained network is left undisturbed.

    Args:
        num_channels: ``C``, the channels of the features to modulate.
        domain_channels: ``D``, the width of the domain embedding.
        hidden_channels: Width of the hidden layer.

    Shape:
        - Input: ``(B, D)``.
        - Output: ``g`` and ``h``, each ``(B, C)``, unbounded.
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
        self.num_channels = num_channels
        self.domain_channels = domain_channels
        # Text states in `context` space have a norm of about 28, joint embeddings of 1: without
        # this normalisation one learning rate could not serve both.
        self.norm = nn.LayerNorm(domain_channels, elementwise_affine=False)
        self.hidden = nn.Linear(domain_channels, hidden_channels)
        self.act = nn.GELU()
        self.out = nn.Linear(hidden_channels, 2 * num_channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, domain: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self.out(self.act(self.hidden(self.norm(domain)))).chunk(2, dim=1)
        return scale, shift
