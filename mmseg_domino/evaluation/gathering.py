"""What metrics share: whose a sample is, and finishing a distributed test in one process."""

from collections.abc import Callable, Mapping
from typing import Any

from mmengine.dist import (
    barrier,
    broadcast_object_list,
    collect_results,
    get_dist_info,
    is_main_process,
)
from mmengine.evaluator import BaseMetric

from ..metrics import GroupKey


def finish_in_one_process(
    metric: BaseMetric, own: Any, finish: Callable[[list], Any]
) -> tuple[Any, Exception | None]:
    """Join what the processes have, and compute in the first one, which alone knows all.

    Args:
        metric: Says how results are collected.
        own: What this process has.
        finish: Is given what all processes have.

    Returns:
        In every process what ``finish`` returned, and the error that it raised, if it did: a
        failure in one process must not leave the others waiting.
    """
    options = {"tmpdir": metric.collect_dir} if metric.collect_device == "cpu" else {}
    _, world_size = get_dist_info()
    parts = collect_results([own], world_size, metric.collect_device, **options)
    outcome: list = [None, None]
    if is_main_process():
        try:
            outcome[0] = finish(parts)
        except Exception as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    barrier()
    return outcome[0], outcome[1]


def image_path(sample: Mapping) -> str:
    """The path by which a sample is told from others.

    Raises:
        ValueError: If it has none.
    """
    path = sample.get("img_path")
    if not path:
        raise ValueError("a sample has no img_path; images are told apart by it")
    return str(path)


def group_of(sample: Mapping, default: str | None) -> GroupKey:
    """The group that a sample belongs to.

    Args:
        sample: With ``dataset`` and ``domain``.
        default: Group of one without; ``None`` makes it an error.

    Raises:
        ValueError: If its group is not known, or its names cannot be filed under.
    """
    dataset, domain = sample.get("dataset"), sample.get("domain")
    if dataset and domain:
        try:
            return GroupKey.of(dataset, domain)
        except ValueError as error:
            raise ValueError(f"{image_path(sample)}: {error}") from error
    if default is not None:
        return GroupKey(default)
    raise ValueError(
        f"{image_path(sample)}: its data set and domain are not known (dataset={dataset!r}, "
        f"domain={domain!r}). Add SetDomain(dataset=..., domain=...) to the front of its pipeline "
        "and pack with PackDominoInputs (in detection PackDominoDetInputs)."
    )
