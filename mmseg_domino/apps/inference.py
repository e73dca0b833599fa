"""Predicting single images with a Domino model, under its own or a forced domain.

Shapes: ``H W`` spatial, ``D`` embedding width, ``K`` domains of the prompt bank.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings
from mmseg.apis import inference_model, init_model
from mmseg.models import BaseSegmentor
from mmseg.registry import DATASETS
from torch import Tensor

from ..datasets import leaf_datasets
from ..datasets.pipelines import steps_after_loading
from ..domain.sources import SPACE_FIELDS
from ..engine import apply_domino, read_and_load
from ..inference import Prediction

#: Sources whose embedding of a domain is a row of a table; the others are made of the image.
_NOT_BY_NAME = {
    "image": "is the image's own embedding, whatever its domain",
    "prototype": "is made of example images, which have no name in the bank",
    "null": "is the zero vector for every image",
}


def init_domino_model(
    config: str | Path | Config, checkpoint: str | None = None, device: str = "cpu"
) -> BaseSegmentor:
    """MMSegmentation's ``init_model`` for configs of this package, ready for arrays.

    Images are prepared as those of the config's first test data set are, or else by its
    ``test_pipeline``. Labels are not loaded, and no store is needed: images that come as arrays
    are in none, so the data preprocessor encodes them.

    Args:
        config: A config or its file; the mix-in is applied.
        checkpoint: Its weights; ``None`` leaves the initial ones.
        device: Such as ``'cuda:0'``.

    Raises:
        ValueError: If the config does not say how images are prepared, or what the classes are; if
            the checkpoint does not fit the model.
    """
    cfg = config if isinstance(config, Config) else Config.fromfile(config)
    cfg = apply_domino(copy.deepcopy(cfg))
    if cfg.get("custom_imports"):
        import_modules_from_strings(**cfg.custom_imports)
    steps = steps_after_loading(_tested_pipeline(cfg))
    cfg.test_pipeline = [dict(type="LoadImageFromNDArray"), *steps]
    model = init_model(cfg, None, device)
    meta = {}
    if checkpoint is not None:
        meta = read_and_load(model, checkpoint)[0].get("meta", {})
    if "CLASSES" in meta:  # MMSegmentation before 1.0
        meta = {"dataset_meta": {"classes": meta["CLASSES"], "palette": meta["PALETTE"]}}
    model.dataset_meta = meta.get("dataset_meta") or _tested_classes(cfg)
    return model


def _tested_classes(cfg: Config) -> dict:
    """Class names and colours of the first data set that the config tests."""
    for dataset in leaf_datasets((cfg.get("test_dataloader") or {}).get("dataset")):
        own = getattr(DATASETS.get(dataset["type"]), "METAINFO", {})
        meta = {**own, **dataset.get("metainfo", {})}
        if "classes" in meta:
            return dict(meta)
    raise ValueError(
        "neither the checkpoint nor a data set of the config's test_dataloader says what the "
        "classes are; give a checkpoint that training wrote"
    )


def _tested_pipeline(cfg: Config) -> list:
    """How the test prepares an image.

    Not always the config's ``test_pipeline``: a child that tests at another size may have replaced
    the data sets alone.
    """
    leaves = leaf_datasets((cfg.get("test_dataloader") or {}).get("dataset"))
    return next((leaf.get("pipeline") for leaf in leaves), None) or cfg.get("test_pipeline") or []


def _text_and_sources(model: BaseSegmentor):
    preprocessor = model.data_preprocessor
    encoder = getattr(preprocessor, "encoder", None)
    if encoder is None:
        raise ValueError(
            "the model has no domain encoder, so its domains are not known: its data_preprocessor "
            "must be DominoDataPreProcessor with `domain_encoder` (with the mix-in: domino.encoder)"
        )
    return encoder.text, preprocessor.sources


def domains_of(model: BaseSegmentor) -> tuple[str, ...]:
    """The domains that can be forced on a model: those of its prompt bank.

    Raises:
        ValueError: If the model has no domain encoder.
    """
    return _text_and_sources(model)[0].keys


def domain_vectors(model: BaseSegmentor) -> dict[str, Tensor]:
    """What stands for each domain where it is forced: ``(K, D)`` by space.

    Raises:
        ValueError: As for :func:`domains_of`, or if its kind of embedding has no named domains.
    """
    text, sources = _text_and_sources(model)
    name = sources[0].name
    if name in _NOT_BY_NAME:
        raise ValueError(
            f"no domain can be forced on this model: its embedding (source '{name}') "
            f"{_NOT_BY_NAME[name]}"
        )
    return {source.space: source.table(text).float() for source in sources}


def _fields_of(model: BaseSegmentor, domain: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a sample of an image carries that is wholly of the domain: tensors, and meta."""
    tables, keys = domain_vectors(model), domains_of(model)
    if domain not in keys:
        raise ValueError(f"unknown domain '{domain}'; the model's are {', '.join(keys)}")
    row = keys.index(domain)
    vectors = {space: table[row] for space, table in tables.items()}
    scores = torch.eye(len(keys))[row]
    if len(vectors) > 1:
        fields = {SPACE_FIELDS[space]: vector for space, vector in vectors.items()}
        return {**fields, "domain_scores": scores}, {}
    ((space, vector),) = vectors.items()
    return {"domain_embedding": vector, "domain_scores": scores}, {"domain_space": space}


@contextmanager
def force_domain(model: BaseSegmentor, domain: str | None) -> Iterator[None]:
    """Within the block the model takes every image to be of ``domain``.

    The embedding of each sample, wherever it is from, is replaced by that of the named domain
    before the data preprocessor sees it.

    Raises:
        ValueError: If the domain is unknown, or the model's kind of embedding has no named domains.
    """
    if domain is None:
        yield
        return
    tensors, meta = _fields_of(model, domain)

    def replace(module: torch.nn.Module, args: tuple) -> None:
        for sample in args[0]["data_samples"]:
            sample.set_data({name: tensor.clone() for name, tensor in tensors.items()})
            sample.set_metainfo(meta)

    handle = model.data_preprocessor.register_forward_pre_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def predict_image(model: BaseSegmentor, image: np.ndarray, domain: str | None = None) -> Prediction:
    """Predict one image.

    Args:
        model: From :func:`init_domino_model`.
        image: ``(H, W, 3)`` uint8 RGB.
        domain: A domain to force, or ``None`` for the one that the model sees.

    Raises:
        ValueError: If the image is of another type or shape, or the domain cannot be forced.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    with force_domain(model, domain):
        # The host's loaders give BGR.
        sample = inference_model(model, np.ascontiguousarray(image[..., ::-1]))
    labels = sample.pred_sem_seg.data.squeeze().to("cpu", torch.uint8).numpy()
    scores = sample.get("domain_scores")
    if domain is not None or scores is None:
        return Prediction(labels, forced=domain)
    return Prediction(labels, tuple(sample.domain_names), tuple(scores.cpu().tolist()))
