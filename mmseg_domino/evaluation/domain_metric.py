"""What metrics by domain share: whose a sample is, and finishing a distributed test."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.dist import collect_results, get_dist_info
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from ..metrics import GroupKey, Results
from ..utils.processes import on_first


class DomainMetric(BaseMetric):
    """Counts in ``process``; ``counted`` is what a process has, :meth:`finish` what comes of it.

    Args:
        source: Group key of the source domain; ``None`` for no relative figures. If it is not
            among what is tested, there are none either.
        intervals: Compute 95 % intervals over images.
        default_group: Group of samples without ``dataset`` and ``domain``; ``None`` makes them an
            error.
        results_file: If given, write ``results.json`` there and what is known by image beside it.
        run: What ``results.json`` should say of the run.
        **kwargs: As for ``BaseMetric``.

    Raises:
        ValueError: If a key is none.
    """

    default_prefix = ""
    counted: Any

    def __init__(
        self,
        source: str | None,
        intervals: bool,
        default_group: str | None,
        results_file: str | None,
        run: Mapping | None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        for name, key in (("source", source), ("default_group", default_group)):
            try:
                GroupKey("a/b" if key is None else key)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        self.source, self.intervals, self.default_group = source, intervals, default_group
        self.results_file, self.run = results_file, dict(run or {})
        self.last_results: Results | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what was counted."""
        raise NotImplementedError

    def finish(self, parts: list, size: int) -> dict[str, float]:
        """The figures of what all processes counted, of ``size`` images; runs in the first one."""
        raise NotImplementedError

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.dataset_meta["classes"])

    @property
    def palette(self) -> Sequence[Sequence[int]]:
        return self.dataset_meta.get("palette") or [[0, 0, 0]] * len(self.classes)

    def key_of(self, sample: Mapping) -> tuple[GroupKey, str]:
        """The group that a sample belongs to, and the path by which it is told from others.

        Raises:
            ValueError: If it has no path, its group is not known, or cannot be filed under.
        """
        path, dataset, domain = (sample.get(key) for key in ("img_path", "dataset", "domain"))
        if not path:
            raise ValueError("a sample has no img_path; images are told apart by it")
        if dataset and domain:
            try:
                return GroupKey.of(dataset, domain), str(path)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error
        if self.default_group is not None:
            return GroupKey(self.default_group), str(path)
        raise ValueError(
            f"{path}: its data set and domain are not known (dataset={dataset!r}, "
            f"domain={domain!r}). Add SetDomain(dataset=..., domain=...) to the front of its "
            "pipeline and pack with PackDominoInputs (in detection PackDominoDetInputs)."
        )

    def evaluate(self, size: int) -> dict[str, float]:
        """Join what the processes counted, and report.

        Args:
            size: Number of images of the data set.

        Returns:
            The figures, in every process.
        """
        options = {"tmpdir": self.collect_dir} if self.collect_device == "cpu" else {}
        _, world_size = get_dist_info()
        parts = collect_results([self.counted], world_size, self.collect_device, **options)
        try:
            metrics = on_first(lambda: self.finish(parts, size))
        finally:
            self.reset()
            self.results.clear()
        return {f"{self.prefix}/{k}": v for k, v in metrics.items()} if self.prefix else metrics

    def compute_metrics(self, results: list) -> dict:
        """Not used: :meth:`evaluate` joins counts instead of lists of results."""
        raise NotImplementedError(f"{type(self).__name__} counts in process(), see evaluate()")

    def tell_counts(self, counted: int, repeated: int, size: int) -> None:
        """Say if images came twice, or not at all."""
        if repeated:
            print_log(f"{repeated} images came more than once and were counted once", "current")
        if counted + repeated < size:
            print_log(
                f"only {counted} of {size} images were evaluated; does the sampler leave some out?",
                "current",
                level=logging.WARNING,
            )

    def publish(self, results: Results, table: str, write: Callable[[Any, str], None]) -> None:
        """Keep, show and write results."""
        self.last_results = results
        print_log("\n" + table, "current")
        if self.results_file is not None:
            write(results, self.results_file)
            print_log(f"results: {self.results_file}", "current")
