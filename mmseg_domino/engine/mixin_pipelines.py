"""Pipelines of a stock config, made to attach and pack a domain embedding."""

import copy
from collections.abc import Callable

from mmengine.config import ConfigDict

from ..datasets.pipelines import is_loading, loads_image
from ..utils.configs import dictionaries
from ..utils.configs import type_name as _name
from .tasks import TASKS

_DOMAIN_TRANSFORMS = ("LoadDomainEmbedding", "EncodeDomain")
#: Before the first of these, a training image has its size and place, and still its colours.
_AFTER_CROP = ("PhotoMetricDistortion", *(name for task in TASKS.values() for name in task.packs))


def embedding_source(options: ConfigDict) -> dict:
    """The arguments that pipelines and data preprocessor share."""
    names = ("source", "space", "temperature", "assign", "prototypes")
    return {n: options[n] for n in names if options[n] is not None}


def attach_step(options: ConfigDict, training: bool, deployed: bool = False) -> dict | None:
    """The transform that attaches the embedding, if the pipelines are to have one."""
    if options.encode == "none":
        return None
    common = {**embedding_source(options), **(options.train if training else options.test)}
    if options.encode == "pipeline":
        return dict(type="EncodeDomain", encoder=options.encoder, **common)
    # At deployment an image is in no store and is left to the data preprocessor's encoder.
    missing = "leave" if deployed and options.encoder is not None else "error"
    made_by = dict(encoder=options.encoder) if options.encoder is not None else {}
    return dict(
        type="LoadDomainEmbedding", store=options.store, missing=missing, **made_by, **common
    )


def edit_pipeline(pipeline: list, attach: dict | None, options: ConfigDict, train: bool) -> list:
    """The pipeline with the embedding attached after loading, and packed."""
    present = any(_name(t) in _DOMAIN_TRANSFORMS for t in pipeline)
    edited, pending = [], False
    for transform in _repack(copy.deepcopy(list(pipeline)), options.task, train):
        # What is done to the image in loading it, such as a corruption, comes first.
        if pending and not is_loading(transform):
            edited.append(ConfigDict(copy.deepcopy(attach)))
            pending = False
        edited.append(transform)
        pending |= attach is not None and not present and loads_image(transform)
        if not train and options.test_scale is not None and _name(transform) == "Resize":
            transform.update(scale=tuple(options.test_scale))
    if pending:
        edited.append(ConfigDict(copy.deepcopy(attach)))
    return _add_weather(edited, options) if train and options.weather is not None else edited


def _add_weather(pipeline: list, options: ConfigDict) -> list:
    """The training pipeline with weather by rule, whose embedding is attached after the draw."""
    names = [_name(t) for t in pipeline]
    if "DrawWeather" in names:
        return pipeline
    attach = [t for t in pipeline if _name(t) in _DOMAIN_TRANSFORMS]
    rest = [t for t in pipeline if _name(t) not in _DOMAIN_TRANSFORMS]
    names = [_name(t) for t in rest]
    loaded = next((i + 1 for i, name in enumerate(names) if "Annotations" in name), None)
    cropped = next((i for i, name in enumerate(names) if name in _AFTER_CROP), None)
    if loaded is None or cropped is None or cropped < loaded:
        raise ValueError(
            "domino.weather needs training pipelines that load labels (LoadAnnotations) and end in "
            f"{TASKS[options.task].packs[0]}; one has {', '.join(names)}"
        )
    draw = ConfigDict(type="DrawWeather", **copy.deepcopy(options.weather))
    if not attach:
        draw["embedding"] = "keep"  # nothing asks for another
    if draw.get("embedding") == "clip":
        draw.setdefault("encoder", copy.deepcopy(options.encoder))
    render = ConfigDict(type="RenderWeather")
    return [*rest[:loaded], draw, *attach, *rest[loaded:cropped], render, *rest[cropped:]]


def _repack(transforms: list, task: str, train: bool) -> list:
    """Packing replaced, also in the nested lists of ``TestTimeAug`` and its like."""
    stock, ours = TASKS[task].packs
    for item in transforms:
        if isinstance(item, list | tuple):
            _repack(item, task, train)
            continue
        if _name(item) == stock:
            item["type"] = ours
        if _name(item) == "PackDominoDetInputs" and not train:
            item.setdefault("truth", True)
        _repack(item.get("transforms", []), task, train)
    return transforms


def check_transforms(loader: dict, where: str, attach: dict | None, packs: tuple[str, str]) -> None:
    """Refuse data whose samples would reach the model without their embedding."""
    found = [_name(node) for node in dictionaries(loader.get("dataset")) if "type" in node]
    if attach is not None and not set(_DOMAIN_TRANSFORMS) & set(found):
        raise ValueError(
            f"nothing in the pipelines of {where} loads an image in a way known here, so nothing "
            f"says where {attach['type']} belongs: put it right after what loads the image. Found: "
            f"{', '.join(found)}"
        )
    if packs[1] not in found:
        raise ValueError(
            f"the pipelines of {where} do not end in {packs[0]}, so no embedding would be "
            f"packed; end them in {packs[1]}. Found: {', '.join(found)}"
        )


def edit_datasets(loader: dict, edit: Callable[[list], list]) -> None:
    """Edit the pipelines of all data sets below a data loader, in any nesting of wrappers."""
    for node in [n for n in dictionaries(loader) if "pipeline" in n]:
        node["pipeline"] = edit(node["pipeline"])
