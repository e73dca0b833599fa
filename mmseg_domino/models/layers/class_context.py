"""The tokens that a diffusion backbone's cross-attention reads: classes, moved by the domain.

Shapes: ``B`` batch, ``N`` classes, ``D`` width of the context space.
"""

import torch
from torch import Tensor, nn

from ..kernels import full_precision
from .domain_modulation import INJECTION_SIGNS, check_domain

__all__ = ["CONTEXT_INJECTIONS", "ClassContext"]

#: How a domain embedding may enter the context.
CONTEXT_INJECTIONS = ("none", *INJECTION_SIGNS, "concat")


class ClassContext(nn.Module):
    r"""Class embeddings through VPD's text adapter, then conditioned on the image's domain.

    The adapter is :math:`a(t) = t + \gamma \cdot \mathrm{MLP}(t)` (VPD, ICCV 2023), the injection
    :math:`a(t) \pm d` (Domino, arXiv 2407.03482).

    Args:
        class_embeddings: ``(N, D)`` text states in ``context`` space, unnormalised (their norm is
            about 28 for CLIP ViT-L/14). Kept as they are; only the adapter is trained.
        injection: ``"subtract"``, ``"add"``, ``"concat"`` (the embedding as one more token, last)
            or ``"none"``.
        domain_scale: Factor of the embedding, in ``add`` and ``subtract``.
        gamma: What each entry of the adapter's ``gamma`` starts at.

    Shape:
        - Input: ``(B, D)`` or ``None`` with ``injection="none"``.
        - Output: ``(B, N, D)``; ``(B, N + 1, D)`` with ``concat``; ``(1, N, D)`` with ``none``.

    Raises:
        ValueError: For an unknown injection, class embeddings that are no finite matrix, or domain
            embeddings of another shape.
    """

    def __init__(
        self,
        class_embeddings: Tensor,
        injection: str = "subtract",
        domain_scale: float = 1.0,
        gamma: float = 1e-4,
    ) -> None:
        super().__init__()
        if injection not in CONTEXT_INJECTIONS:
            raise ValueError(
                f"unknown injection {injection!r}; valid ones are {', '.join(CONTEXT_INJECTIONS)}"
            )
        if class_embeddings.ndim != 2:
            raise ValueError(
                f"class embeddings must be (N, D), got {tuple(class_embeddings.shape)}"
            )
        if not class_embeddings.is_meta and not class_embeddings.isfinite().all():
            raise ValueError("the class embeddings hold NaN or infinite values")
        self.injection = injection
        self.domain_scale = domain_scale
        width = class_embeddings.shape[1]
        self.register_buffer("class_embeddings", class_embeddings.detach().clone().float())
        self.gamma = nn.Parameter(torch.full((width,), float(gamma)))
        self.text_adapter = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )

    @property
    def num_classes(self) -> int:
        """``N``."""
        return self.class_embeddings.shape[0]

    def forward(self, domain: Tensor | None = None, batch: int | None = None) -> Tensor:
        """Build the context.

        Args:
            domain: Embeddings ``(B, D)`` in ``context`` space.
            batch: ``B``, to check the embeddings against; ``None`` takes theirs.
        """
        # Float32 whatever the autocast: the adapter adds 1e-4 of its output to states of norm 28.
        with full_precision(self.gamma.device):
            return self._build(domain, batch)

    def _build(self, domain: Tensor | None, batch: int | None) -> Tensor:
        tokens = self.class_embeddings
        tokens = (tokens + self.gamma * self.text_adapter(tokens))[None]
        if self.injection == "none":
            return tokens
        if batch is None:
            batch = 0 if domain is None else len(domain)
        domain = check_domain(domain, tokens.shape[-1], batch, type(self).__name__)
        domain = domain.to(tokens.dtype)[:, None]
        if self.injection == "concat":
            return torch.cat([tokens.expand(batch, -1, -1), domain], dim=1)
        return tokens + INJECTION_SIGNS[self.injection] * self.domain_scale * domain
