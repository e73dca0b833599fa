"""What the arguments of ``domino test`` change in a config.

Unlike those of MMSegmentation's own tool, these work on concatenated data sets and lists of
metrics too.
"""

import copy
import os
from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.runner import BaseLoop

from ..datasets import leaf_datasets
from ..evaluation.predictions import PredictionWriter

__all__ = [
    "InvocationConfig",
    "for_this_run",
    "image_folders",
    "save_predictions",
    "show_predictions",
    "tell_image_folders",
    "use_test_time_augmentation",
]


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

    The ``SetDomain`` of each data set stays in front of the augmented pipeline, so that results
    remain attributed to their domains.

    Raises:
        ValueError: If the config defines no ``tta_pipeline`` or ``tta_model``.
    """
    for key in ("tta_pipeline", "tta_model"):
        if key not in cfg:
            raise ValueError(
                f"--tta needs `{key}` in the config, which has none; MMSegmentation's "
                "_base_/datasets and _base_/default_runtime.py show the usual ones"
            )
    for dataset in leaf_datasets(cfg.test_dataloader):
        tags = [t for t in dataset["pipeline"] if t["type"].split(".")[-1] == "SetDomain"]
        dataset["pipeline"] = tags + copy.deepcopy(list(cfg.tta_pipeline))
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
    """Have every metric write its predictions as PNG files.

    Args:
        cfg: The config.
        folder: Where to.
        only: Write predictions and compute no figures; the images need no labels.
    """
    evaluators = cfg.test_evaluator
    for metric in evaluators if isinstance(evaluators, list | tuple) else [evaluators]:
        metric["output_dir"] = folder
        metric["keep_results"] = True
        if only:
            metric["format_only"] = True
