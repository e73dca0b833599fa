"""What a model is told of the domain, and which of it a part takes.

Shapes: ``B`` batch, ``D`` embedding width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

#: A batch's embeddings ``(B, D)`` by the space they lie in (``"joint"``, ``"context"``) and its
#: :data:`SCORES`; or the embeddings alone, of which it is not said in which space they lie.
DomainInputs = Mapping[str, Tensor] | Tensor | None
#: Key of the scores ``(B, K)`` over the domains of the bank.
SCORES = "scores"


def take_domain(domain: DomainInputs, space: str | None, where: str) -> Tensor | None:
    """The embeddings that a part asks for."""
    if domain is None or isinstance(domain, Tensor):
        return domain
    spaces = [name for name in domain if name != SCORES]
    if space is None and len(spaces) == 1:
        return domain[spaces[0]]
    if space is None and not spaces:
        return None
    if space not in spaces:
        asked = f"takes those of the {space} space" if space else "names none of them: give `space`"
        raise ValueError(
            f"the samples carry domain embeddings of {' and '.join(spaces) or 'no space'}, and "
            f"{where} {asked}. `space` of LoadDomainEmbedding, EncodeDomain or `domino` says what "
            "they carry, for instance ('joint', 'context')."
        )
    return domain[space]


def repeat_domain(domain: DomainInputs, times: int) -> DomainInputs:
    """The same for a batch that holds every image ``times`` times, one after all others."""
    if domain is None or times == 1:
        return domain
    if isinstance(domain, Tensor):
        return domain.repeat(times, 1)
    return {name: value.repeat(times, 1) for name, value in domain.items()}


class Centre(nn.Module):
    """A vector from which embeddings are measured: part of the checkpoint, read for training."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(shape))
        self.known = False

    def set(self, value: Tensor) -> None:
        """Say what it is."""
        if value.shape != self.value.shape:
            raise ValueError(
                f"the centre has the shape {tuple(value.shape)} and the embeddings that it is for "
                f"{tuple(self.value.shape)}: they come from another model or space"
            )
        self.value.copy_(value)
        self.known = True

    def _load_from_state_dict(self, state: dict, prefix: str, *args) -> None:
        super()._load_from_state_dict(state, prefix, *args)
        self.known = self.known or prefix + "value" in state

    def forward(self) -> Tensor:
        if not self.known:
            raise RuntimeError(
                "the centre of the domain embeddings was not read: call init_weights(), as "
                "training does, or load a checkpoint"
            )
        return self.value
