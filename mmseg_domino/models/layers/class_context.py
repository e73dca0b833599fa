"""The tokens that a diffusion backbone's cross-attention reads: classes, moved by the domain.

Shapes: ``B`` batch, ``N`` classes, ``K`` domains, ``D`` width of the context space.
"""

import torch
from torch import Tensor, nn

from ..kernels import full_precision
from .domain_inputs import SCORES, Centre, DomainInputs, take_domain
from .domain_modulation import INJECTION_SIGNS, check_domain, project_gain

#: How a domain embedding may enter the context.
CONTEXT_INJECTIONS = ("none", *INJECTION_SIGNS, "concat")


class ClassContext(nn.Module):
    r"""Class embeddings through VPD's text adapter, then conditioned on the image's domain.

    The adapter is :math:`a(t) = t + \gamma \cdot \mathrm{MLP}(t)` (VPD, ICCV 2023), the injection
    :math:`a(t_n) \pm s\,\delta_n` (Domino, arXiv 2407.03482, with ``s = 1``).

    Without ``domains`` the displacement is one for all classes, :math:`\delta = d - c`: the image's
    embedding from the centre. It cannot change where a class is attended to: all keys of a
    cross-attention layer move alike, which softmax cancels, and what is left is the constant
    :math:`\pm s\,W_o W_v \delta` at every position. With ``domains`` there is a table
    ``E (K, N, D)`` of states of the texts '{class} in {domain}', and
    :math:`\delta_n = \sum_k p_k E_{kn} - c_n` with the image's scores ``p``.

    Args:
        class_embeddings: ``(N, D)`` text states in ``context`` space, unnormalised (their norm is
            about 28 for CLIP ViT-L/14). Kept as they are; only the adapter is trained.
        injection: ``"subtract"``, ``"add"``, ``"concat"`` (the embedding as one more token, last)
            or ``"none"``.
        scale: ``s``, for ``add`` and ``subtract``; where there is a gate, its factor.
        gate: Whether ``s`` is trained from zero, and kept from becoming negative. At the start the
            context is then that of plain VPD.
        space: Of the embeddings; see :func:`~.domain_inputs.take_domain`.
        domains: ``K``, for a displacement a class.
        centred: Whether there is a centre ``c``: one embedding, or one a class. Else it is zero.
        gamma: What each entry of the adapter's ``gamma`` starts at.

    Shape:
        - Input: embeddings ``(B, D)`` or ``None`` with ``injection="none"``; scores ``(B, K)`` with
          ``domains``.
        - Output: ``(B, N, D)``; ``(B, N + 1, D)`` with ``concat``; ``(1, N, D)`` with ``none``.

    Raises:
        ValueError: For an unknown injection, options that would have no effect under it, class
            embeddings that are no finite matrix, or domain embeddings of another shape.
    """

    def __init__(
        self,
        class_embeddings: Tensor,
        injection: str = "subtract",
        scale: float = 1.0,
        gate: bool = False,
        space: str | None = None,
        domains: int | None = None,
        centred: bool = False,
        gamma: float = 1e-4,
    ) -> None:
        super().__init__()
        _check_options(injection, scale, gate, domains, centred)
        if class_embeddings.ndim != 2:
            raise ValueError(
                f"class embeddings must be (N, D), got {tuple(class_embeddings.shape)}"
            )
        if not class_embeddings.is_meta and not class_embeddings.isfinite().all():
            raise ValueError("the class embeddings hold NaN or infinite values")
        self.injection, self.scale, self.space = injection, scale, space
        classes, width = class_embeddings.shape
        self.register_buffer("class_embeddings", class_embeddings.detach().clone().float())
        self.gamma = nn.Parameter(torch.full((width,), float(gamma)))
        self.text_adapter = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )
        self.gate = nn.Parameter(torch.zeros(1)) if gate else None
        self.table = None if domains is None else Centre(domains, classes, width)
        shape = (width,) if domains is None else (classes, width)
        self.centre = Centre(*shape) if centred else None

    @property
    def num_classes(self) -> int:
        """``N``."""
        return self.class_embeddings.shape[0]

    def forward(self, domain: DomainInputs = None, batch: int | None = None) -> Tensor:
        """Build the context.

        Args:
            domain: Embeddings ``(B, D)`` in ``context`` space, or scores.
            batch: ``B``, to check the embeddings against; ``None`` takes theirs.
        """
        # Float32 whatever the autocast: the adapter adds 1e-4 of its output to states of norm 28.
        with full_precision(self.gamma.device):
            return self._build(domain, batch)

    def _build(self, domain: DomainInputs, batch: int | None) -> Tensor:
        tokens = self.class_embeddings
        tokens = (tokens + self.gamma * self.text_adapter(tokens))[None]
        if self.injection == "none":
            return tokens
        displacement = self._displacement(domain, batch)
        if self.injection == "concat":
            return torch.cat([tokens.expand(displacement.shape[0], -1, -1), displacement], dim=1)
        factor = INJECTION_SIGNS[self.injection] * self.scale
        if self.gate is not None:
            factor = factor * project_gain(self.gate)
        return tokens + factor * displacement

    def _displacement(self, domain: DomainInputs, batch: int | None) -> Tensor:
        """``(B, 1, D)``, or ``(B, N, D)`` with one a class."""
        centre = 0 if self.centre is None else self.centre()
        if self.table is not None:
            table = self.table()
            scores = domain.get(SCORES) if hasattr(domain, "get") else None
            if scores is None or scores.shape[1] != len(table):
                found = "none" if scores is None else f"those of {scores.shape[1]}"
                raise ValueError(
                    f"a displacement a class needs the scores of {len(table)} domains with each "
                    f"sample and got {found}. LoadDomainEmbedding and EncodeDomain attach them; "
                    "bank and model must be those of the table."
                )
            return torch.einsum("bk,knd->bnd", scores.to(table.dtype), table) - centre
        width = self.class_embeddings.shape[1]
        domain = take_domain(domain, self.space, type(self).__name__)
        if batch is None:
            batch = 0 if domain is None else domain.shape[0]
        domain = check_domain(domain, width, batch, type(self).__name__)
        return (domain.to(self.class_embeddings.dtype) - centre)[:, None]


def _check_options(
    injection: str, scale: float, gate: bool, domains: int | None, centred: bool
) -> None:
    if injection not in CONTEXT_INJECTIONS:
        raise ValueError(
            f"unknown injection {injection!r}; valid ones are {', '.join(CONTEXT_INJECTIONS)}"
        )
    given = {"scale": scale != 1.0, "gate": gate, "classwise": domains is not None}
    useless = [name for name, is_given in given.items() if is_given]
    if injection in ("none", "concat") and useless:
        raise ValueError(
            f"{', '.join(useless)} would have no effect with injection={injection!r} in "
            "cross-attention; it goes with add and subtract"
        )
    if injection == "none" and centred:
        raise ValueError("a centre would have no effect with injection='none' in cross-attention")
