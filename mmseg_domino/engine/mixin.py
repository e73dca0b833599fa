"""Turning a stock MMSegmentation or mmdet config into a Domino one."""

import copy
import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from logging import DEBUG

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from ..domain import load_prompt_bank
from ..domain.sources import split_spaces
from ..utils.configs import type_name as _name
from ..utils.options import complete_options
from .mixin_pipelines import (
    attach_step,
    check_transforms,
    edit_datasets,
    edit_pipeline,
    embedding_source,
)
from .tasks import TASKS, Task

#: Keys that are worth a look when another is nearly the same.
_KEYS = (
    "domino", "new_parts", "load_from", "work_dir", "runner_type", "custom_imports",
    "custom_hooks", "default_hooks", "optim_wrapper", "param_scheduler", "randomness",
    "train_dataloader", "val_dataloader", "test_dataloader", "val_evaluator", "test_evaluator",
    "train_pipeline", "test_pipeline", "tta_pipeline", "tta_model", "visualizer",
    "data_preprocessor", "log_processor", "default_scope", "resume",
)  # fmt: skip
#: What ``domino = dict(...)`` may hold, with its defaults.
DOMINO_OPTIONS = {
    # 'segmentation', or 'detection' for mmdet's configs (what _base_/domino_detection.py says).
    "task": "segmentation",
    # Width D of the embedding: 768 for ViT-L-14 in either space; or by space, such as
    # dict(joint=64, context=96).
    "domain_channels": 768,
    # Where the embedding comes from: 'store' (LoadDomainEmbedding), 'pipeline' (EncodeDomain, CLIP
    # in the loading workers) or 'none' (the pipelines are left alone). None: 'store' if one is
    # given, else 'pipeline'.
    "encode": None,
    "store": None,
    # CLIP, for encode='pipeline', and for raw images at deployment.
    "encoder": dict(model="ViT-L-14", pretrained="openai", bank="acdc"),
    # What the embedding is made of; see LoadDomainEmbedding. The last three matter to some sources.
    "source": "soft",
    # Norms take `joint`, cross-attention `context`.
    "space": ("joint", "context"),
    "temperature": None,
    "assign": None,
    "prototypes": None,
    # Arguments of LearnedDomainTable, for source='learned'.
    "domain_table": None,
    # Further arguments of LoadDomainEmbedding or EncodeDomain, in training only.
    "train": dict(),
    # And in validation and test only.
    "test": dict(),
    # Arguments of DrawWeather: weather by rule on training images, on the fly; None for none.
    "weather": None,
    # Width and height that all data sets are resized to for testing; None for what each says.
    "test_scale": None,
    # Arguments of DominoBackbone, or of DominoVPD if that is the backbone; `centre` may be a
    # domain's key alone. None leaves the backbone alone.
    "backbone": dict(),
    # Arguments of DominoNorm (in_channels at least), put before the stock neck; None for none.
    "neck": None,
    # Test with DomainIoUMetric or DomainDetectionMetric, which report domains apart.
    "metric": True,
}


def apply_domino(cfg: Config) -> Config:
    """The Domino config that a stock config and its ``domino`` options describe.

    The segmentor or detector becomes Domino's, its backbone is wrapped in ``DominoBackbone`` and
    its data preprocessor becomes one that can encode; every pipeline attaches a domain embedding
    and packs it; ``IoUMetric`` of the test becomes ``DomainIoUMetric``, ``CocoMetric``
    ``DomainDetectionMetric``. Nothing is changed in place.

    Args:
        cfg: A config with the key ``domino``; one without is returned as it is. The options are
            those of :data:`DOMINO_OPTIONS`.

    Returns:
        A config that can be applied again without effect.

    Raises:
        ImportError: For a detector without mmdet.
        ValueError: For an unknown option or value; a model that Domino cannot serve; a data set
            whose samples would reach the model without an embedding; or options that were changed
            after they had been applied.
    """
    _check_keys(cfg)
    if "domino" not in cfg:
        return cfg
    given = {k: v for k, v in cfg.domino.items() if k != "applied"}
    if "applied" in cfg.domino:
        _check_unchanged(given, cfg.domino["applied"])
        return cfg
    cfg = copy.deepcopy(cfg)
    options = _options(given)
    _apply_to_model(cfg, options)
    for key in [k for k in cfg if k.endswith("pipeline")]:
        train = key.startswith("train")
        # mmseg.apis.inference_model runs `test_pipeline` on images that are in no data set.
        attach = attach_step(options, train, deployed=key == "test_pipeline")
        cfg[key] = edit_pipeline(cfg[key], attach, options, train)
    for key in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if cfg.get(key) is not None:
            train = key.startswith("train")
            attach = attach_step(options, train)
            edit_datasets(cfg[key], lambda p, a=attach, t=train: edit_pipeline(p, a, options, t))
            check_transforms(cfg[key], key, attach, TASKS[options.task].packs)
    if options.metric:
        for key in ("val_evaluator", "test_evaluator"):
            if cfg.get(key) is not None:
                cfg[key] = _edit_evaluator(cfg[key], TASKS[options.task])
    _import_plugin(cfg, TASKS[options.task].plugin)
    cfg.domino["applied"] = copy.deepcopy(given)
    return cfg


def _check_keys(cfg: Config) -> None:
    """Refuse a key that looks like one of these and is none: nothing would read it."""
    for key in cfg:
        near = get_close_matches(key, _KEYS, 1, cutoff=0.82) if key not in _KEYS else []
        # A longer name that is made of one, such as acdc_test_pipeline, is no slip.
        if near and f"_{near[0]}" not in key and f"{near[0]}_" not in key:
            raise ValueError(
                f"the config's key {key!r} is read by nothing; is {near[0]!r} meant? A variable of "
                "your own needs a name that is less like it."
            )


def _check_unchanged(given: dict, applied: dict) -> None:
    changed = sorted(k for k in {*given, *applied} if given.get(k) != applied.get(k))
    if changed:
        raise ValueError(
            f"domino.{', domino.'.join(changed)} changed in a config that is complete already (one "
            "that training wrote into its work folder?), where it would have no effect. Change "
            "it in the original config, or edit the model and the pipelines themselves."
        )


def _options(given: dict) -> ConfigDict:
    options = ConfigDict(complete_options(given, copy.deepcopy(DOMINO_OPTIONS), "domino"))
    if options.task not in TASKS:
        raise ValueError(f"domino.task must be one of {list(TASKS)}, got {options.task!r}")
    if options.task == "detection" and find_spec("mmdet") is None:
        raise ImportError(
            "domino.task='detection' needs mmdet, which is not installed: MMCV_WITH_OPS=0 pip "
            "install 'mmseg_domino[onedl,detection]' (no compiler is needed)"
        )
    _check_encoder(options.encoder)
    if options.encode is None:
        options.encode = "store" if options.store is not None else "pipeline"
    if options.encode not in ("store", "pipeline", "none"):
        raise ValueError(
            f"domino.encode must be 'store', 'pipeline' or 'none', got {options.encode!r}"
        )
    if options.encode == "store" and options.store is None:
        raise ValueError(
            "domino.encode='store' needs domino.store, the file that `domino domains extract` "
            "writes"
        )
    if options.encode == "pipeline" and options.encoder is None:
        raise ValueError(
            "domino.encode='pipeline' needs domino.encoder, the arguments of DomainEncoder; or "
            "give domino.store"
        )
    if (options.source == "learned") != (options.domain_table is not None):
        raise ValueError(
            "domino.source='learned' goes with domino.domain_table, the arguments of "
            f"LearnedDomainTable; got {options.source!r} with {options.domain_table}"
        )
    return options


def _check_encoder(encoder: dict | None) -> None:
    """Refuse what DomainEncoder does not take: with a store, nobody may ever build one."""
    if encoder in (None, DOMINO_OPTIONS["encoder"]):
        return
    from ..domain import DomainEncoder  # takes its time: it imports open_clip

    complete_options(encoder, inspect.signature(DomainEncoder).parameters, "domino.encoder")
    if isinstance(encoder.get("bank"), str):
        load_prompt_bank(encoder["bank"])


def _models(cfg: Config) -> Iterator[ConfigDict]:
    """The model's config, also where test-time augmentation wraps it."""
    for key in ("model", "tta_model"):
        model = cfg.get(key)
        while model is not None and "backbone" not in model and model.get("module") is not None:
            model = model.module
        if model is not None and (key == "model" or "backbone" in model):
            yield model


def _apply_to_model(cfg: Config, options: ConfigDict) -> None:
    for model in _models(cfg):
        _rename_model(model, TASKS[options.task])
        if options.backbone is not None:
            if not _name(model.backbone).startswith("Domino"):
                _wrap_backbone(model)
            _set_backbone_options(model.backbone, options)
        if _name(model.backbone) == "DominoVPD":
            _store_architecture(model.backbone)
        stock = model.get("neck") or {}
        ours = isinstance(stock, dict) and _name(stock) == "DominoNorm"
        if options.neck is not None and not ours:
            space = options.neck.get("space") or _space(options, "joint")
            model.neck = ConfigDict(
                type="DominoNorm",
                domain_channels=_width(options, space),
                neck=model.get("neck"),
                **{"space": space, **options.neck},
            )
        _edit_preprocessor(model, options)
    for owner in (cfg, cfg.model):
        _edit_preprocessor(owner, options)


def _rename_model(model: ConfigDict, task: Task) -> None:
    name, known = _name(model), task.models
    if "backbone" not in model or (known and name not in (*known, *known.values(), *task.own)):
        served = f"the segmentors {' and '.join(known)}" if known else "detectors"
        raise ValueError(
            f"Domino serves {served} with a backbone; this config has {model.get('type')}, which "
            "passes no embedding on to one"
        )
    if known:
        model.type = known.get(name, name)
    elif name != "DominoDetector":
        model.detector, model.type = model.type, "DominoDetector"


def _space(options: ConfigDict, wanted: str) -> str:
    """The space that a part takes: the wanted one, or the only one that samples carry."""
    spaces = split_spaces(options.space)
    return wanted if wanted in spaces else spaces[0]


def _width(options: ConfigDict, space: str) -> int:
    width = options.domain_channels
    return width[space] if isinstance(width, dict) else width


def _set_backbone_options(backbone: ConfigDict, options: ConfigDict) -> None:
    """Bring ``domino.backbone`` into a backbone of Domino's, with what all its parts need."""
    backbone.update(copy.deepcopy(options.backbone))
    plain = backbone.get("injection") == "none"
    is_vpd = _name(backbone) == "DominoVPD"
    norms = backbone.get("norms", None if is_vpd else "all")
    if norms is not None and not plain:
        norms = dict(layers=norms) if isinstance(norms, str) else dict(norms)
        norms.setdefault("space", _space(options, "joint"))
        backbone.norms = norms
    if norms is not None or not is_vpd:
        space = norms["space"] if isinstance(norms, dict) and "space" in norms else None
        width = _width(options, space or _space(options, "joint"))
        backbone.setdefault("domain_channels", width)
    if is_vpd and not plain:
        backbone.attention = dict(backbone.get("attention") or {})
        backbone.attention.setdefault("space", _space(options, "context"))
    if isinstance(backbone.get("centre"), str):
        where = "store" if options.store is not None else "encoder"
        backbone.centre = {"domain": backbone.centre, where: options[where]}


def _store_architecture(backbone: ConfigDict) -> None:
    """Write what the pretrained model is built like, so that no file of it is needed to test."""
    from ..models.diffusion.vpd_parts import resolve_weights, weight_options

    if backbone.get("weights") is None:
        return
    if weight_options(backbone.weights)["architecture"] is not None:
        return
    try:
        vae = (backbone.get("vae") or {}).get("weights")
        backbone.weights = resolve_weights(backbone.weights, vae)
    except FileNotFoundError as error:
        # Building the model says the same, if it comes to that.
        print_log(f"the architecture is not stored: {error}", logger="current", level=DEBUG)


def _wrap_backbone(model: ConfigDict) -> None:
    # The wrapped backbone initialises itself from it.
    pretrained = model.pop("pretrained", None)
    if pretrained is not None:
        if model.backbone.get("pretrained") is not None:
            raise ValueError(
                f"both model.pretrained ({pretrained}) and model.backbone.pretrained "
                f"({model.backbone.pretrained}) are set; keep one"
            )
        model.backbone.pretrained = pretrained
    model.backbone = ConfigDict(type="DominoBackbone", backbone=model.backbone)


def _edit_preprocessor(owner: Config | ConfigDict, options: ConfigDict) -> None:
    preprocessor = owner.get("data_preprocessor")
    # At deployment, images come without the pipelines that training and testing have.
    encodes = options.encode != "none" and options.encoder is not None
    learned = options.domain_table is not None
    stock, ours = TASKS[options.task].preprocessors
    if preprocessor is None or _name(preprocessor) != stock:
        if preprocessor is not None and learned and _name(preprocessor) != ours:
            raise ValueError(
                f"domino.source='learned' keeps its table in {ours}, and this config has the data "
                f"preprocessor {preprocessor.get('type')}"
            )
        return
    if encodes or learned:
        preprocessor.update(type=ours, **embedding_source(options))
        if encodes:
            preprocessor.domain_encoder = options.encoder
        if learned:
            preprocessor.domain_table = options.domain_table


def _edit_evaluator(evaluator: dict | list, task: Task) -> dict | list:
    if isinstance(evaluator, list | tuple):
        return [_edit_evaluator(metric, task) for metric in evaluator]
    stock, ours = task.metrics
    if _name(evaluator) != stock or not _is_usual(evaluator):
        return evaluator
    kept = {k: evaluator[k] for k in task.metric_options if k in evaluator}
    # The stock data sets say nothing of domains; those that do are still told apart.
    return ConfigDict(type=ours, default_group="test/all", **kept)


def _is_usual(evaluator: dict) -> bool:
    """Whether a stock metric is asked for what ours measures."""
    if _name(evaluator) == "IoUMetric":
        return list(evaluator.get("iou_metrics", ["mIoU"])) == ["mIoU"]
    kinds = evaluator.get("metric", "bbox")
    asked = {kinds} if isinstance(kinds, str) else set(kinds)
    other = [k for k in ("iou_thrs", "outfile_prefix") if evaluator.get(k) is not None]
    return asked <= {"bbox", "segm"} and not other and not evaluator.get("format_only")


def _import_plugin(cfg: Config, plugins: tuple[str, ...]) -> None:
    imports = dict(cfg.get("custom_imports") or {"allow_failed_imports": False})
    names = imports.get("imports", [])
    names = [names] if isinstance(names, str) else list(names)
    imports["imports"] = list(dict.fromkeys([*names, *plugins]))
    cfg.custom_imports = imports
