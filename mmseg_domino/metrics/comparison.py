"""Which runs can be compared, and by how much they differ.

Shapes: ``M`` images.
"""

from collections.abc import Sequence

import numpy as np

from .groups import GroupKey
from .intervals import Measured, measure
from .per_image import PerImage
from .results import RunResults
from .stored import ResultsError


def _class_difference(expected: Sequence[str], given: Sequence[str]) -> str:
    missing = [c for c in expected if c not in given]
    extra = [c for c in given if c not in expected]
    if not missing and not extra:
        return "the same classes in another order; figures by class cannot be compared"
    return f"another class set: lacks {missing[:5] or 'nothing'}, adds {extra[:5] or 'nothing'}"


def check_same_classes(runs: Sequence[RunResults]) -> None:
    """Refuse runs that cannot be compared.

    Raises:
        ResultsError: If the runs' class lists differ; names the two files.
    """
    for run in runs[1:]:
        if run.classes != runs[0].classes:
            raise ResultsError(
                f"{run.path or run.name} cannot be compared with {runs[0].path or runs[0].name}: "
                f"it has {_class_difference(runs[0].classes, run.classes)}. Report them apart."
            )


def _names(images: PerImage, key: GroupKey) -> list[str]:
    return [images.images[row] for row in images.rows.get(key, [])]


def _difference(first: PerImage, second: PerImage, key: GroupKey) -> str | None:
    """How the images of a group differ; ``None`` if both runs were tested on the same."""
    names, others = _names(first, key), _names(second, key)
    same_files = names == others
    if not same_files:
        # The same tree elsewhere: equal file names, and labels of equal counts throughout.
        files = [[name.rpartition("/")[2] for name in side] for side in (names, others)]
        if files[0] != files[1]:
            shared = len({*names} & {*others})
            return f"different images: {len(names)} and {len(others)}, of which {shared} the same"
    labels = [side.label[side.rows[key]].astype(np.int64) for side in (first, second)]
    if np.array_equal(*labels):
        return None
    if same_files:
        return "the same images with different labels"
    return f"different images of the same names, such as {names[0]} and {others[0]}"


def image_differences(first: PerImage, second: PerImage) -> dict[GroupKey, str]:
    """For each group that both runs were tested on, but not on the same images: how they differ."""
    shared = [key for key in first.rows if key in second.rows]
    found = {key: _difference(first, second, key) for key in shared}
    return {key: text for key, text in found.items() if text is not None}


def check_same_images(runs: Sequence[PerImage]) -> None:
    """Refuse to pair runs that were tested on different images.

    Raises:
        ResultsError: Names a group that differs.
    """
    for other in runs[1:]:
        for key in sorted({*runs[0].rows, *other.rows}):
            text = _difference(runs[0], other, key)
            if text is not None:
                raise ResultsError(
                    f"runs to be compared were tested on {key} with {text}; test both on the same "
                    "data"
                )


def paired_differences(first: RunResults, second: RunResults) -> dict[str, Measured]:
    """Every figure of ``second`` minus that of ``first``, over the images of both.

    Groups that only one of them was tested on, or with other images, are left out, and with them
    the averages over their data set. Figures relative to a source need the same source.

    Returns:
        By the names of :func:`~mmseg_domino.metrics.intervals.figures`; empty if counts by image
        are missing.

    Raises:
        ResultsError: If the class sets differ.
    """
    check_same_classes([first, second])
    if first.images is None or second.images is None:
        return {}
    different = image_differences(first.images, second.images)
    sides = [run.images.by_group() for run in (first, second)]
    usable = [key for key in sides[0] if key in sides[1] and key not in different]
    source = first.source if first.source == second.source and first.source in usable else None
    broken = {key.dataset for side in sides for key in side if key not in usable}
    if first.source != second.source:  # a group that is a target for one is not for the other
        broken |= {key.dataset for key in (first.source, second.source) if key is not None}
    measured = [measure({key: side[key] for key in usable}, source) for side in sides]
    found = {}
    for name, value in measured[0].items():
        prefix = name.rpartition("/")[0]
        average = "/" not in prefix
        if average and (prefix in broken or (prefix == "targets" and broken)):
            continue
        found[name] = measured[1][name] - value
    return found
