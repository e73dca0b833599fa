"""Turning a stock MMSegmentation config into a Domino one."""

import copy
from collections.abc import Callable

from mmengine.config import Config, ConfigDict

__all__ = ["DOMINO_OPTIONS", "apply_domino"]

_SEGMENTORS = {
    "EncoderDecoder": "DominoEncoderDecoder",
    "CascadeEncoderDecoder": "DominoCascadeEncoderDecoder",
}
_LOADERS = ("LoadImageFromFile", "LoadImageFromNDArray", "LoadCheckedImage")
_DOMAIN_TRANSFORMS = ("LoadDomainEmbedding", "EncodeDomain")
#: Options that IoUMetric and DomainIoUMetric share.
_SHARED_METRIC_OPTIONS = (
    "ignore_index", "collect_device", "output_dir", "format_only", "prefix",
)  # fmt: skip
_PLUGIN = "mmseg_domino.plugin"

#: What ``domino = dict(...)`` may hold, with its defaults.
DOMINO_OPTIONS = {
    # Width D of the embedding: 768 for ViT-L-14 in either space.
    "domain_channels": 768,
    # Where the embedding comes from: 'store' (LoadDomainEmbedding), 'pipeline' (EncodeDomain, CLIP
    # in the loading workers) or 'none' (the pipelines are left alone). None: 'store' if one is
    # given, else 'pipeline'.
    "encode": None,
    "store": None,
    # CLIP, for encode='pipeline', and for raw images at deployment.
    "encoder": dict(model="ViT-L-14", pretrained="openai", bank="acdc"),
    "source": "soft",
    "space": "context",
    # Further arguments of LoadDomainEmbedding or EncodeDomain, in training only.
    "train": dict(),
    # Arguments of DominoBackbone; None leaves the backbone alone.
    "backbone": dict(),
    # Arguments of DominoNorm (in_channels at least), put before the stock neck; None for none.
    "neck": None,
    # Test with DomainIoUMetric, which reports domains apart.
    "metric": True,
}


def apply_domino(cfg: Config) -> Config:
    """The Domino config that a stock config and its ``domino`` options describe.

    The segmentor becomes Domino's, its backbone is wrapped in ``DominoBackbone`` and its data
    preprocessor in ``DominoDataPreProcessor``; every pipeline attaches a domain embedding and packs
    it; ``IoUMetric`` of the test becomes ``DomainIoUMetric``. Nothing is changed in place.

    Args:
        cfg: A config with the key ``domino``; one without is returned as it is. The options are
            those of :data:`DOMINO_OPTIONS`.

    Returns:
        A config that can be applied again without effect.

    Raises:
        ValueError: For an unknown option or value, or a segmentor that Domino cannot serve.
    """
    if "domino" not in cfg or cfg.domino.get("applied", False):
        return cfg
    cfg = copy.deepcopy(cfg)
    options = _options(cfg.domino)
    _apply_to_model(cfg, options)
    for key in [k for k in cfg if k.endswith("pipeline")]:
        # mmseg.apis.inference_model runs `test_pipeline` on images that are in no data set.
        attach = _attach(options, key.startswith("train"), deployed=key == "test_pipeline")
        cfg[key] = _edit_pipeline(cfg[key], attach)
    for key in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if cfg.get(key) is not None:
            attach = _attach(options, key.startswith("train"))
            _edit_datasets(cfg[key], lambda pipeline, a=attach: _edit_pipeline(pipeline, a))
    if options.metric:
        for key in ("val_evaluator", "test_evaluator"):
            if cfg.get(key) is not None:
                cfg[key] = _edit_evaluator(cfg[key])
    _import_plugin(cfg)
    cfg.domino["applied"] = True
    return cfg


def _options(given: dict) -> ConfigDict:
    unknown = sorted(set(given) - set(DOMINO_OPTIONS) - {"applied"})
    if unknown:
        raise ValueError(
            f"unknown options {unknown} in `domino`; valid ones are {', '.join(DOMINO_OPTIONS)}"
        )
    options = ConfigDict(copy.deepcopy(DOMINO_OPTIONS))
    options.update(given)
    if options.encode is None:
        options.encode = "store" if options.store is not None else "pipeline"
    valid = ("store", "pipeline", "none")
    if options.encode not in valid:
        raise ValueError(f"domino.encode must be one of {valid}, got {options.encode!r}")
    if options.encode == "store" and options.store is None:
        raise ValueError(
            "domino.encode='store' needs domino.store, the file that "
            "tools/extract_domain_embeddings.py writes"
        )
    return options


def _segmentor(cfg: Config) -> ConfigDict:
    """The segmentor's config, also where test-time augmentation wraps it."""
    model = cfg.model
    while "backbone" not in model and isinstance(model.get("module"), dict):
        model = model.module
    return model


def _apply_to_model(cfg: Config, options: ConfigDict) -> None:
    model = _segmentor(cfg)
    name = str(model.get("type")).removeprefix("mmseg.")
    if name not in (*_SEGMENTORS, *_SEGMENTORS.values()):
        raise ValueError(
            f"Domino serves the segmentors {' and '.join(_SEGMENTORS)}, this config has "
            f"{model.get('type')}, which passes no embedding on to its backbone"
        )
    model.type = _SEGMENTORS.get(name, name)
    if options.backbone is not None and model.backbone.type != "DominoBackbone":
        # The wrapped backbone initialises itself from it.
        pretrained = model.pop("pretrained", None)
        if pretrained is not None:
            model.backbone.pretrained = pretrained
        model.backbone = ConfigDict(
            type="DominoBackbone",
            backbone=model.backbone,
            domain_channels=options.domain_channels,
            **options.backbone,
        )
    if options.neck is not None:
        model.neck = ConfigDict(
            type="DominoNorm",
            domain_channels=options.domain_channels,
            neck=model.get("neck"),
            **options.neck,
        )
    if options.encode != "none" and options.encoder is not None:
        for owner in (cfg, cfg.model, model):
            preprocessor = owner.get("data_preprocessor")
            if preprocessor is not None and preprocessor.type == "SegDataPreProcessor":
                preprocessor.update(
                    type="DominoDataPreProcessor",
                    domain_encoder=options.encoder,
                    source=options.source,
                    space=options.space,
                )


def _attach(options: ConfigDict, training: bool, deployed: bool = False) -> dict | None:
    """The transform that attaches the embedding, if the pipelines are to have one."""
    if options.encode == "none":
        return None
    common = dict(source=options.source, space=options.space)
    if training:
        common.update(options.train)
    if options.encode == "pipeline":
        return dict(type="EncodeDomain", encoder=options.encoder, **common)
    # At deployment an image is in no store and is left to the data preprocessor's encoder.
    missing = "leave" if deployed and options.encoder is not None else "error"
    return dict(type="LoadDomainEmbedding", store=options.store, missing=missing, **common)


def _edit_pipeline(pipeline: list, attach: dict | None) -> list:
    """The pipeline with the embedding attached after loading, and packed."""
    present = any(t.get("type") in _DOMAIN_TRANSFORMS for t in pipeline)
    edited = []
    for transform in _repack(copy.deepcopy(list(pipeline))):
        edited.append(transform)
        if transform.get("type") in _LOADERS and attach is not None and not present:
            edited.append(ConfigDict(copy.deepcopy(attach)))
    return edited


def _repack(transforms: list) -> list:
    """``PackSegInputs`` replaced, also in the nested lists of ``TestTimeAug`` and its like."""
    for item in transforms:
        if isinstance(item, list | tuple):
            _repack(item)
            continue
        if item.get("type") == "PackSegInputs":
            item["type"] = "PackDominoInputs"
        _repack(item.get("transforms", []))
    return transforms


def _edit_datasets(node: dict, edit: Callable[[list], list]) -> None:
    """Edit the pipelines of all data sets below a data loader, in any nesting of wrappers."""
    for key, value in node.items():
        if key == "pipeline":
            node[key] = edit(value)
        elif isinstance(value, dict):
            _edit_datasets(value, edit)
        elif isinstance(value, list | tuple):
            for child in value:
                if isinstance(child, dict):
                    _edit_datasets(child, edit)


def _edit_evaluator(evaluator: dict | list) -> dict | list:
    if isinstance(evaluator, list | tuple):
        return [_edit_evaluator(metric) for metric in evaluator]
    if evaluator.get("type") != "IoUMetric" or list(evaluator.get("iou_metrics", ["mIoU"])) != [
        "mIoU"
    ]:
        return evaluator
    kept = {k: evaluator[k] for k in _SHARED_METRIC_OPTIONS if k in evaluator}
    # The stock data sets say nothing of domains; those that do are still told apart.
    return ConfigDict(type="DomainIoUMetric", default_group="test/all", **kept)


def _import_plugin(cfg: Config) -> None:
    imports = dict(cfg.get("custom_imports") or {"allow_failed_imports": False})
    names = imports.get("imports", [])
    names = [names] if isinstance(names, str) else list(names)
    imports["imports"] = names if _PLUGIN in names else [*names, _PLUGIN]
    cfg.custom_imports = imports
