"""What a domain embedding is made of.

Everything here is arithmetic on what the encoder or a store gives: text embeddings of the ``K``
domains and the image embedding of each image. An embedding is ``weights @ table``: the weights say
how much of each domain an image is, the table holds one vector a domain. ``image`` and ``null``
need neither.

Shapes: ``B`` batch, ``K`` domains, ``P`` prototypes, ``E`` width of the joint space, ``D`` width of
the embedding (``E`` in joint space, the text tower's width in context space).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

#: The two spaces, which are never mixed.
SPACES: Mapping[str, str] = {
    "joint": "projected and L2-normalised: where CLIP compares images with text",
    "context": "the text tower's state before projection: what Stable Diffusion attends to",
}

#: Field of a sample for the embedding of a space, where samples carry several.
SPACE_FIELDS: Mapping[str, str] = {"joint": "domain_joint", "context": "domain_context"}

#: The sources and the question that each answers.
SOURCES: Mapping[str, str] = {
    "argmax": "text of the likeliest domain: does a hard choice of domain suffice?",
    "soft": "score-weighted mean of the texts: does it help to say how sure CLIP is?",
    "image": "CLIP's image embedding: are the words needed at all? (joint space only)",
    "residual": "soft, minus the bank's mean text: is what all the prompts share in the way?",
    "prototype": "mean image embedding of example folders: do examples beat words? (joint only)",
    "learned": "a trained table, looked up by domain: is the text's geometry needed?",
    "random": "a random vector a domain, fixed by its name: the control; is meaning needed?",
    "oracle": "text of the true condition: the upper bound; how much do wrong scores cost?",
    "null": "the zero vector: the same network without domain information",
}

#: How the domain of an image is chosen: by its best score, all scores, or the true condition.
ASSIGNMENTS = ("argmax", "soft", "oracle")

_DEFAULT_ASSIGNMENT = {
    "argmax": "argmax",
    "soft": "soft",
    "residual": "soft",
    "prototype": "soft",
    "learned": "argmax",
    "random": "argmax",
    "oracle": "oracle",
}
# The others are defined by how they choose.
_FREE_ASSIGNMENT = ("residual", "learned", "random")


@dataclass(frozen=True)
class DomainText:
    """The text side of a prompt bank under one encoder.

    Attributes:
        keys: The ``K`` domain keys.
        joint: ``(K, E)`` float32, each row of norm 1.
        context: ``(K, D)`` float32, not normalised.
        logit_scale: The encoder's inverse temperature (100 for the published CLIP models).
    """

    keys: tuple[str, ...]
    joint: Tensor
    context: Tensor
    logit_scale: float

    def __post_init__(self) -> None:
        for space in SPACES:
            table = getattr(self, space)
            if table.ndim != 2 or len(table) != len(self.keys):
                raise ValueError(
                    f"the {space} text embeddings of {len(self.keys)} domains must have the shape "
                    f"({len(self.keys)}, width), got {tuple(table.shape)}"
                )
            if not table.isfinite().all():
                raise ValueError(f"the {space} text embeddings hold NaN or infinite values")

    def table(self, space: str) -> Tensor:
        """The text embeddings ``(K, E)`` or ``(K, D)`` of a space."""
        return {"joint": self.joint, "context": self.context}[space]


def domain_scores(image: Tensor, text: Tensor, temperature: float) -> Tensor:
    """How much of each domain an image is: ``softmax(cosine / temperature)``.

    Args:
        image: Image embeddings ``(B, E)`` of norm 1.
        text: Text embeddings (or prototypes) ``(K, E)`` of norm 1, in the joint space.
        temperature: Positive; CLIP's own is ``1 / logit_scale``. Towards 0 the scores become
            one-hot, towards infinity uniform.

    Returns:
        ``(B, K)``, each row summing to 1.

    Raises:
        ValueError: If the widths differ or the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if image.shape[-1] != text.shape[-1]:
        raise ValueError(
            f"image embeddings are {image.shape[-1]} wide and text embeddings {text.shape[-1]}: "
            "they come from different models"
        )
    return (image @ text.T / temperature).softmax(dim=-1)


def domain_weights(
    assign: str,
    scores: Tensor,
    keys: Sequence[str],
    true: Sequence[str | None] | None = None,
) -> Tensor:
    """Weights ``(B, K)`` that choose or mix the domains of each image, as :data:`ASSIGNMENTS` do.

    ``scores`` are ``(B, K)``; ``true`` has the condition of each image, for ``'oracle'``.
    """
    if assign == "soft":
        return scores
    if assign == "argmax":
        index = scores.argmax(dim=-1)
    else:
        index = torch.tensor(
            [_true_index(name, keys) for name in true or [None] * len(scores)],
            device=scores.device,
        )
    return F.one_hot(index, len(keys)).to(scores.dtype)


def _true_index(name: str | None, keys: Sequence[str]) -> int:
    if name is None:
        raise ValueError(
            "the oracle needs the true condition of the image and the sample has none. Use a data "
            "set that records it (ACDCDataset) or add SetDomain(domain=...) to the pipeline before "
            "this transform."
        )
    if name not in keys:
        raise ValueError(
            f"the true condition {name!r} is not a domain of the prompt bank, which has: "
            f"{', '.join(keys)}. Name the condition as the bank does (SetDomain(domain=...)), or "
            "give the store a bank of your own."
        )
    return list(keys).index(name)


def random_table(keys: Sequence[str], like: Tensor) -> Tensor:
    """One random vector a domain, the same wherever and whenever it is drawn.

    Args:
        keys: The ``K`` domain keys; each alone decides the direction of its row.
        like: ``(K, D)``; row ``k`` of the result has the norm of row ``k`` of this.

    Returns:
        ``(K, D)``.
    """
    rows = []
    for key in keys:
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
        # RandomState's stream is frozen by numpy's policy; Generator's and torch's are not.
        rows.append(np.random.RandomState(seed).standard_normal(like.shape[1]))
    directions = F.normalize(torch.from_numpy(np.stack(rows)), dim=-1).to(like)
    return directions * like.norm(dim=-1, keepdim=True)


def prototype_table(groups: Sequence[Tensor]) -> Tensor:
    """Mean image embedding of each group of examples, of norm 1.

    Args:
        groups: ``P`` tensors ``(number of examples, E)`` of image embeddings.

    Returns:
        ``(P, E)``.
    """
    if not groups or any(len(group) == 0 for group in groups):
        sizes = [len(group) for group in groups]
        raise ValueError(f"every prototype needs at least one example, got groups of {sizes}")
    return F.normalize(torch.stack([group.mean(dim=0) for group in groups]), dim=-1)


def split_spaces(space: str | Sequence[str]) -> tuple[str, ...]:
    """The spaces that ``space`` names: one, or several."""
    spaces = (space,) if isinstance(space, str) else tuple(space)
    if not spaces or set(spaces) - set(SPACES) or len(set(spaces)) < len(spaces):
        raise ValueError(
            f"unknown space {space!r}; give one of {', '.join(SPACES)}, or several of them"
        )
    return spaces


@dataclass(frozen=True)
class EmbeddingSource:
    """Make domain embeddings of one kind: ``source(image, text) -> (embedding, scores)``.

    Args:
        name: One of :data:`SOURCES`.
        space: One of :data:`SPACES`.
        temperature: For the scores; ``None`` for the encoder's own, ``1 / logit_scale``.
        assign: For ``residual``, ``learned`` and ``random``: one of :data:`ASSIGNMENTS` instead of
            the usual (``soft``, ``argmax`` and ``argmax``).
        prototypes: For ``prototype``: ``(P, E)`` of norm 1; see :func:`prototype_table`. With one,
            all images get the same embedding; with several, each gets their mean weighted by its
            likeness to them.

    ``learned`` gives the weights ``(B, K)`` themselves: the table is trained, so it lives in the
    model, which multiplies it in (``DominoDataPreProcessor(domain_table=...)``).

    Raises:
        ValueError: If a name is unknown, or the combination makes no sense; the message says why.
    """

    name: str
    space: str
    temperature: float | None = None
    assign: str | None = None
    prototypes: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.name not in SOURCES:
            raise ValueError(f"unknown source {self.name!r}; the sources are {', '.join(SOURCES)}")
        if self.space not in SPACES:
            raise ValueError(f"unknown space {self.space!r}; the spaces are {', '.join(SPACES)}")
        if self.name in ("image", "prototype") and self.space == "context":
            raise ValueError(
                f"source {self.name!r} is made of image embeddings, which exist in the joint space "
                "only: the context space lies before the text projection and images never enter "
                "it. Use space='joint'."
            )
        if self.temperature is not None and not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if self.assign is not None:
            if self.assign not in ASSIGNMENTS:
                raise ValueError(f"assign must be one of {ASSIGNMENTS}, got {self.assign!r}")
            if self.name not in _FREE_ASSIGNMENT:
                raise ValueError(
                    f"assign applies to {', '.join(_FREE_ASSIGNMENT)}; what source {self.name!r} "
                    "is made of already says how it chooses"
                )
        if (self.name == "prototype") != (self.prototypes is not None):
            raise ValueError(
                "prototypes are needed for source 'prototype' and for no other, got source "
                f"{self.name!r} with{'out' if self.prototypes is None else ''} prototypes"
            )

    def table(self, text: DomainText) -> Tensor:
        """The vectors that the weights choose among; ``(K, D)``, or ``(P, E)`` for prototypes."""
        table = text.table(self.space)
        if self.name == "residual":
            return table - table.mean(dim=0)
        if self.name == "random":
            return random_table(text.keys, table)
        if self.name == "learned":
            return torch.eye(len(table))
        if self.name == "prototype":
            return self.prototypes
        return table

    def __call__(
        self, image: Tensor, text: DomainText, true: Sequence[str | None] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Embeddings and scores of a batch.

        Args:
            image: Image embeddings ``(B, E)`` of norm 1.
            text: The text side of the bank.
            true: The true conditions, ``B`` domain keys; ``'oracle'`` only reads them.

        Returns:
            The embeddings ``(B, D)`` (``(B, K)`` for ``learned``) and the scores ``(B, K)``, in
            float32 on the device of ``image``.
        """
        temperature = 1 / text.logit_scale if self.temperature is None else self.temperature
        scores = domain_scores(image, text.joint.to(image), temperature)
        if self.name == "image":
            return image, scores
        if self.name == "null":
            return image.new_zeros(len(image), text.table(self.space).shape[1]), scores
        table = self.table(text).to(image)
        if self.name == "prototype":
            weights = domain_scores(image, table, temperature)
        else:
            assign = self.assign or _DEFAULT_ASSIGNMENT[self.name]
            weights = domain_weights(assign, scores, text.keys, true)
        return weights @ table, scores


def build_sources(
    source: str,
    space: str | Sequence[str],
    temperature: float | None,
    assign: str | None,
    prototypes: Tensor | None,
) -> list[EmbeddingSource]:
    """A source for each of the spaces; see :class:`EmbeddingSource`."""
    spaces = split_spaces(space)
    if source == "learned" and len(spaces) > 1:
        raise ValueError("source='learned' has one trained table, so give one `space`")
    return [EmbeddingSource(source, s, temperature, assign, prototypes) for s in spaces]


def perturb_embedding(
    embedding: Tensor,
    table: Tensor,
    noise: float,
    mix: float,
    drop: float,
    rng: np.random.RandomState,
) -> Tensor:
    """Disturb one embedding in training: mix, add noise, then perhaps drop to null.

    The number of draws does not depend on the values, so that turning one off leaves the others'
    random numbers as they were.

    Args:
        embedding: ``(D,)``.
        table: ``(K, D)``, the domains to mix with.
        noise: Length of the Gaussian noise relative to the embedding's (its expected root mean
            square), at least 0.
        mix: Largest share of another domain, in [0, 1]; the share is uniform in [0, ``mix``], the
            domain uniform among all.
        drop: Probability of the zero vector, in [0, 1].
        rng: ``numpy.random`` or a ``RandomState``.

    Returns:
        ``(D,)``.
    """
    share = rng.uniform(0, mix)
    other = table[rng.randint(len(table))]
    dropped = rng.uniform() < drop
    # Last: how many numbers it draws depends on the width, and all spaces of an image are to be
    # mixed and dropped alike.
    gauss = torch.from_numpy(np.asarray(rng.standard_normal(len(embedding)))).to(embedding)
    embedding = (1 - share) * embedding + share * other.to(embedding)
    embedding = embedding + gauss * (noise * embedding.norm() / len(embedding) ** 0.5)
    return torch.zeros_like(embedding) if dropped else embedding
