"""What the arguments of ``domino test`` change in a config.

Unlike those of MMSegmentation's own tool, these work on concatenated data sets and lists of
metrics too.
"""

import copy
import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from mmengine.config import Config
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.runner import BaseLoop

from ..datasets import RemainingDataset, leaf_datasets
from ..datasets.pipelines import split_loading
from ..datasets.remaining import group_keys
from ..evaluation.predictions import PredictionWriter
from ..utils.configs import type_name


class InvocationConfig(Config):
    """A config with settings of one run; what is saved of it is the config without them.

    A saved config is started from again. With the outputs of the test that saved it, the next test
    would write over them.
    """

    def dump(self, file: str | os.PathLike | None = None) -> str | None:
        """Write the config that :func:`for_this_run` was given."""
        return self.__dict__["reusable"].dump(file)


def for_this_run(cfg: Config) -> InvocationConfig:
    """A copy of a config to put the settings of one run into (outputs, checkpoint, resuming)."""
    copied = InvocationConfig(
        copy.deepcopy(cfg.to_dict()), cfg.text, cfg.filename, format_python_code=False
    )
    # Past Config.__setattr__, which would make a setting of it.
    object.__setattr__(copied, "reusable", copy.deepcopy(cfg))
    return copied


def image_folders(dataset: object) -> Iterator[str]:
    """Folders of the images of a built data set, in any nesting of wrappers."""
    for inner in getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]:
        if inner is not None:
            yield from image_folders(inner)
    prefix = getattr(dataset, "data_prefix", None)
    if isinstance(prefix, Mapping) and prefix.get("img_path"):
        yield prefix["img_path"]


def tell_image_folders(loop: BaseLoop) -> None:
    """Have the metrics of a built test write predictions by the images' paths."""
    folders = sorted(set(image_folders(loop.dataloader.dataset)))
    for metric in loop.evaluator.metrics:
        if isinstance(getattr(metric, "writer", None), PredictionWriter):
            metric.writer.image_folders = folders


def use_test_time_augmentation(cfg: Config) -> None:
    """Test with the config's ``tta_pipeline`` and ``tta_model``.

    How each data set loads its images stays (domains, corruptions, embeddings): only what comes
    after it is replaced, and the loading of ``tta_pipeline`` is left out.

    Raises:
        ValueError: If the config defines no ``tta_pipeline`` or ``tta_model``.
    """
    for key in ("tta_pipeline", "tta_model"):
        if key not in cfg:
            raise ValueError(
                f"--tta needs `{key}` in the config, which has none; MMSegmentation's "
                "_base_/datasets and _base_/default_runtime.py show the usual ones"
            )
    augmented = split_loading(cfg.tta_pipeline)[1]
    for dataset in leaf_datasets(cfg.test_dataloader):
        loading = split_loading(dataset["pipeline"])[0]
        dataset["pipeline"] = loading + copy.deepcopy(augmented)
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def show_predictions(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Draw predictions on a screen or into a folder.

    Raises:
        ValueError: If the config's ``default_hooks`` have no ``visualization``.
    """
    hook = cfg.get("default_hooks", {}).get("visualization")
    if hook is None:
        raise ValueError(
            "--show and --show-dir need visualization=dict(type='SegVisualizationHook') in the "
            "config's default_hooks"
        )
    hook["draw"] = True
    if show:
        hook["show"] = True
        hook["wait_time"] = wait_time
    if show_dir:
        cfg.visualizer["save_dir"] = show_dir


def save_predictions(cfg: Config, folder: str, only: bool = False) -> None:
    """Have every metric write its predictions as PNG files into a folder.

    With ``only`` no figures are computed, and the images need no labels.

    Raises:
        ValueError: If the test is of a detector.
    """
    evaluators = cfg.test_evaluator
    for metric in evaluators if isinstance(evaluators, list | tuple) else [evaluators]:
        if type_name(metric) == "DomainDetectionMetric":
            raise ValueError(
                "--out writes label images, and the test is of a detector; mmdet's CocoMetric with "
                "outfile_prefix writes its detections"
            )
        metric["output_dir"] = folder
        metric["keep_results"] = True
        if only:
            metric["format_only"] = True


def check_test(loop: BaseLoop) -> None:
    """Refuse what a test would find only at its end, or one of its processes never.

    A metric's ``source`` that is nearly, but not, what is tested (one that is not tested at all is
    no error: then there are no relative figures); two images whose predictions have one file.
    """
    dataset = loop.dataloader.dataset
    if not isinstance(dataset, BaseDataset | ConcatDataset | RemainingDataset):
        return
    images = list(group_keys(dataset))
    for metric in loop.evaluator.metrics:
        if isinstance(getattr(metric, "writer", None), PredictionWriter):
            for group, image in images:
                metric.writer.path(group, image)
    sources = {getattr(metric, "source", None) for metric in loop.evaluator.metrics} - {None}
    tested = sorted({group for group, _ in images})
    for source in sources - set(tested):
        names = {group.split("/")[0] for group in tested}
        if source.split("/")[0] in names or get_close_matches(source, tested, cutoff=0.8):
            raise ValueError(
                f"the metric's source is {source!r}, and no image is of it; tested are "
                f"{', '.join(tested)}. Correct test_evaluator.source (None: no relative figures)."
            )
