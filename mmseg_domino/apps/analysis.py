"""How well a prompt bank and an encoder tell the images of a store apart.

Shapes: ``M`` images, ``K`` domains, ``T`` true conditions, ``E`` width of the joint space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import torch
from torch import Tensor

from ..domain.sources import domain_scores
from ..domain.store import EmbeddingStore


@dataclass(frozen=True)
class DomainAnalysis:
    """Scores of a store's images, against the true conditions where these are known.

    Attributes:
        keys: The ``M`` image paths.
        domains: The ``K`` domain keys.
        scores: ``(M, K)``, rows summing to 1.
        conditions: ``M`` true conditions, ``None`` where unknown; a condition need not be a domain.
    """

    keys: tuple[str, ...]
    domains: tuple[str, ...]
    scores: Tensor
    conditions: tuple[str | None, ...]

    @property
    def predicted(self) -> Tensor:
        """Index of each image's likeliest domain ``(M,)``."""
        return self.scores.argmax(dim=1)

    @property
    def known(self) -> tuple[str, ...]:
        """The ``T`` conditions that occur: domains in their order, then others by name."""
        found = {condition for condition in self.conditions if condition is not None}
        others = sorted(found - set(self.domains))
        return (*(d for d in self.domains if d in found), *others)

    def of_condition(self, condition: str | None) -> Tensor:
        """Which images have a condition, ``(M,)`` bool."""
        return torch.tensor([c == condition for c in self.conditions], dtype=torch.bool)

    def confusion(self) -> Tensor:
        """Counts ``(T, K)``: true condition by likeliest domain."""
        rows = [
            torch.bincount(self.predicted[self.of_condition(c)], minlength=len(self.domains))
            for c in self.known
        ]
        return torch.stack(rows) if rows else torch.zeros(0, len(self.domains), dtype=torch.long)

    def accuracy(self) -> dict[str, float]:
        """Percent of images whose likeliest domain is the true one, by condition.

        Only conditions that are domains count; ``'mean'`` is over these conditions, ``'all'`` over
        their images. Empty if there are none.
        """
        counts = dict(zip(self.known, self.confusion(), strict=True))
        by = {
            condition: 100 * int(counts[condition][self.domains.index(condition)]) / total
            for condition, total in ((c, int(row.sum())) for c, row in counts.items())
            if condition in self.domains
        }
        if not by:
            return {}
        hits = sum(int(counts[c][self.domains.index(c)]) for c in by)
        total = sum(int(counts[c].sum()) for c in by)
        return by | {"mean": sum(by.values()) / len(by), "all": 100 * hits / total}

    def mean_scores(self) -> dict[str, list[float]]:
        """Mean scores, ``K`` numbers, of each condition; under ``'all'`` of all images."""
        groups = {c: self.scores[self.of_condition(c)] for c in self.known} | {"all": self.scores}
        # Float32 scores are known to seven digits, not to the sixteen that JSON would show.
        return {
            c: [round(x, 7) for x in s.double().mean(dim=0).tolist()] for c, s in groups.items()
        }

    def certainty(self) -> Tensor:
        """Of each image ``(M,)``: 1 for a one-hot score, 0 for a uniform one.

        One minus the entropy relative to the largest possible.
        """
        entropy = -torch.special.xlogy(self.scores, self.scores).sum(dim=1)
        return 1 - entropy / torch.log(torch.tensor(float(len(self.domains))))

    def summary(self) -> dict:
        """The figures as plain JSON values."""
        certainty = self.certainty()
        likeliest = torch.bincount(self.predicted, minlength=len(self.domains)).tolist()
        return {
            "images": len(self.keys),
            "domains": list(self.domains),
            "conditions": list(self.known),
            "images_without_condition": sum(c is None for c in self.conditions),
            "confusion": self.confusion().tolist(),
            "accuracy_percent": self.accuracy(),
            "mean_scores": self.mean_scores(),
            "predicted": dict(zip(self.domains, likeliest, strict=True)),
            "mean_certainty": round(float(certainty.double().mean()), 7),
        }


def true_conditions(
    keys: Sequence[str], domains: Sequence[str], named: Mapping[str, str] | None = None
) -> list[str | None]:
    """The true condition of each image, read from the folders of its path; ``None`` for unknown.

    ``named`` gives the conditions of further folders, such as ``{'leftImg8bit': 'clear_day'}``;
    these come first. Below a folder whose name ends in ``_ref``, as ACDC's images of the same
    places in clear weather are, only these count.
    """
    meaning = {domain: domain for domain in domains} | dict(named or {})
    conditions: list[str | None] = []
    for key in keys:
        parts = PurePosixPath(key).parts[:-1]
        said = {meaning[part] for part in parts if part in (named or {})}
        if not said and not any(part.endswith("_ref") for part in parts):
            said = {meaning[part] for part in parts if part in meaning}
        if len(said) > 1:
            raise ValueError(f"the folders of {key} name several conditions: {sorted(said)}")
        conditions.append(said.pop() if said else None)
    return conditions


def analyse_store(
    store: EmbeddingStore,
    named: Mapping[str, str] | None = None,
    temperature: float | None = None,
) -> DomainAnalysis:
    """Score all images of a store."""
    text = store.text
    if temperature is None:
        temperature = 1 / text.logit_scale
    scores = domain_scores(store.images(), text.joint, temperature)
    conditions = true_conditions(store.keys, text.keys, named)
    return DomainAnalysis(store.keys, text.keys, scores, tuple(conditions))


def project(image: Tensor, method: str = "auto", seed: int = 0) -> tuple[Tensor, str]:
    """Lay image embeddings out in the plane.

    Args:
        image: ``(M, E)``.
        method: ``'umap'``, ``'pca'``, or ``'auto'`` for UMAP if it is installed and there are
            enough images for it.
        seed: Of UMAP.

    Returns:
        Positions ``(M, 2)`` in [0, 1], and the method used.

    Raises:
        ValueError: If the method is unknown.
        ImportError: If UMAP is asked for and not installed.
    """
    if method not in ("auto", "umap", "pca"):
        raise ValueError(f"method must be 'auto', 'umap' or 'pca', got {method!r}")
    positions = None
    if method != "pca" and (method == "umap" or len(image) >= 16):
        positions = _umap(image, seed, required=method == "umap")
    used = "pca" if positions is None else "umap"
    if positions is None:
        positions = _pca(image)
    low, high = positions.min(dim=0).values, positions.max(dim=0).values
    return (positions - low) / (high - low).clamp_min(1e-12), used


def _umap(image: Tensor, seed: int, required: bool) -> Tensor | None:
    try:
        import umap
    except ImportError as error:
        if required:
            raise ImportError("UMAP is not installed; `pip install umap-learn`") from error
        return None
    neighbours = min(15, len(image) - 1)
    reducer = umap.UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed)
    return torch.from_numpy(reducer.fit_transform(image.numpy())).float()


def _pca(image: Tensor) -> Tensor:
    centred = (image - image.mean(dim=0)).double()
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    axes = vectors[:, -2:].flip(1)
    # An eigenvector's sign is arbitrary: let its largest entry be positive.
    axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
    return (centred @ axes).float()


def spread_out(positions: Tensor, count: int) -> list[int]:
    """Indices of some positions that lie far from each other, by farthest-point sampling."""
    if len(positions) == 0:
        return []
    chosen = [int((positions - positions.mean(dim=0)).norm(dim=1).argmax())]
    distance = (positions - positions[chosen[0]]).norm(dim=1)
    while len(chosen) < min(count, len(positions)) and distance.max() > 0:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (positions - positions[chosen[-1]]).norm(dim=1))
    return chosen
