"""MMSegmentation's inferencer on Domino's configs, which test several data sets."""

import copy
from types import ModuleType

from mmengine.config import Config

from ..datasets import leaf_datasets
from ..datasets.pipelines import steps_after_loading
from ..import_hooks import after_import


def _prepared(cfg: Config) -> Config:
    """The config with the one pipeline for images of no data set that the inferencer asks for."""
    if "domino" in cfg and "applied" not in cfg.domino:
        raise ValueError(
            "MMSegInferencer builds the model as this config has it, and the config becomes a "
            "Domino one only when it is run. Give it the complete config that training wrote into "
            "its work folder, or use mmseg_domino.apps.inference.init_domino_model and "
            "predict_image."
        )
    leaves = list(leaf_datasets((cfg.get("test_dataloader") or {}).get("dataset")))
    pipeline = leaves[0].get("pipeline") if leaves else None
    if not pipeline:
        return cfg
    cfg = copy.deepcopy(cfg)
    steps = [dict(type="LoadImageFromFile"), *steps_after_loading(pipeline)]
    cfg.test_dataloader.dataset = dict(type=leaves[0]["type"], pipeline=steps)
    return cfg


def _wrap(module: ModuleType) -> None:
    inferencer = module.MMSegInferencer
    original = inferencer._init_pipeline
    if hasattr(original, "__wrapped__"):
        return

    def _init_pipeline(self, cfg: Config):
        return original(self, _prepared(cfg) if "domino" in cfg else cfg)

    _init_pipeline.__wrapped__ = original
    inferencer._init_pipeline = _init_pipeline


after_import("mmseg.apis.mmseg_inferencer", _wrap)
