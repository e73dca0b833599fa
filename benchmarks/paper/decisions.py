"""Deciding claims from the runs that there are."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.paper.questions import Claim, Key
from mmseg_domino.experiments.collect import Condition
from mmseg_domino.experiments.statistics import Contrast, paired_contrasts, verdict

#: What claims are decided by: the mean of the target domains' mIoUs. The relative mIoU is told
#: beside it and decides nothing, because it also rises when the source's mIoU falls.
DECIDING = "mean_of_domains"
RELATIVE = "relative_mean_of_domains"


@dataclass(frozen=True)
class Comparison:
    """A against B.

    Attributes:
        better: A's config.
        than: B's config.
        contrasts: Difference by figure, :data:`DECIDING` and :data:`RELATIVE`; empty if the two
            have no seed in common.
    """

    better: Key
    than: Key
    contrasts: Mapping[str, Contrast]

    def verdict(self, figure: str = DECIDING) -> str:
        found = self.contrasts.get(figure)
        return "cannot be told" if found is None else verdict(found)


@dataclass(frozen=True)
class Decision:
    """A claim and what became of it.

    Attributes:
        claim: The claim.
        comparisons: One for each that something should be better than.
    """

    claim: Claim
    comparisons: tuple[Comparison, ...]

    def verdict(self, figure: str = DECIDING) -> str:
        """Holds if it holds against each, does not hold if it does not against one of them."""
        found = [comparison.verdict(figure) for comparison in self.comparisons]
        if "does not hold" in found:
            return "does not hold"
        return "holds" if set(found) == {"holds"} else "cannot be told"


def compare(first: Condition, second: Condition, dataset: str) -> dict[str, Contrast]:
    """Differences ``first - second`` by figure, over the seeds that both have.

    Args:
        first: A.
        second: B.
        dataset: The target data set.

    Raises:
        ResultsError: If they were tested on different images.
    """
    found = paired_contrasts(first, second)
    names = {figure: f"{dataset}/{figure}" for figure in (DECIDING, RELATIVE)}
    return {figure: found[name] for figure, name in names.items() if name in found}


def decide(claim: Claim, conditions: Mapping[Key, Condition], dataset: str) -> Decision:
    """Decide a claim; a condition without results leaves it open.

    Args:
        claim: The claim.
        conditions: What was run, by config.
        dataset: The target data set.
    """
    comparisons = []
    for than in claim.than:
        contrasts: dict[str, Contrast] = {}
        if claim.better in conditions and than in conditions:
            contrasts = compare(conditions[claim.better], conditions[than], dataset)
        comparisons.append(Comparison(claim.better, than, contrasts))
    return Decision(claim, tuple(comparisons))
