"""What a model says of an image.

Shapes: ``H W`` the image's size, ``N`` classes, ``K`` domains.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Prediction:
    """What a model says of an image.

    Attributes:
        labels: ``(H, W)`` uint8 class indices.
        domain_names: ``K`` domains, empty if the model predicted none.
        domain_scores: ``K`` ratios.
        forced: The domain that was forced, or ``None``.
        probabilities: ``(N, H, W)`` float32, summing to 1 over the classes (one class: that of its
            presence), where they were asked for.
    """

    labels: np.ndarray
    domain_names: tuple[str, ...] = ()
    domain_scores: tuple[float, ...] = ()
    forced: str | None = None
    probabilities: np.ndarray | None = None

    @property
    def domain(self) -> str | None:
        """The domain with the highest score."""
        if not self.domain_names:
            return None
        return self.domain_names[int(np.argmax(self.domain_scores))]
