"""From config and checkpoint to a folder that needs neither.

Shapes: ``B`` batch, ``h w`` size of the network's input, ``D`` embedding width, ``K`` domains.
"""

import colorsys
import copy
import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..domain.encoder import DomainEncoder
from ..inference.manifest import MANIFEST, write_manifest
from ..models.layers.domain_inputs import SCORES
from ..utils.configs import type_name
from ..utils.disk import explain_disk
from ..utils.hashes import file_sha256
from ..utils.io import TEMPORARY_PREFIX
from .export_check import check_export, image_files
from .export_description import (
    describe_domain,
    describe_inference,
    describe_preprocessing,
    versions,
)
from .export_graphs import (
    LARGEST_BATCH,
    OPSET,
    SUFFIXES,
    EncoderGraph,
    NetworkGraph,
    domain_inputs,
    export_encoder,
    export_network,
    free_sides,
    prepare,
    save_program,
)
from .inference import init_domino_model

#: Side of the example that whole images are traced with; any graph for free sizes is as good.
_SIDE = 256


def export_model(
    config: str | Path | Config,
    checkpoint: str | Path,
    out: str | Path,
    kind: str = "onnx",
    encoder: bool = True,
    half: bool = False,
    images: Sequence[Path] = (),
) -> dict:
    """Export a trained model; see ``docs/export.md``.

    Args:
        config: Its config.
        checkpoint: Its weights, all of them.
        out: The folder. It must be new, empty or an earlier export, which is replaced when the new
            one is whole.
        kind: ``"onnx"`` or ``"torch"``.
        encoder: Whether to export the domain encoder, too.
        half: Whether the network computes in float16. It needs ``images``.
        images: What the export is compared with the checkpoint on.

    Returns:
        What ``model.json`` says.

    Raises:
        ValueError: If the checkpoint does not fit, the model cannot be exported, or the export
            differs from the checkpoint by more than it may.
        FileExistsError: If ``out`` holds something else.
    """
    out = Path(out)
    if kind not in SUFFIXES:
        raise ValueError(f"unknown format {kind!r}; known are {', '.join(SUFFIXES)}")
    if half and not images:
        raise ValueError("a model in half precision differs: give images to state by how much")
    _check_free(out)
    files = image_files(images)
    cfg = _without_aids(config if isinstance(config, Config) else Config.fromfile(config))
    model = init_domino_model(cfg, str(checkpoint))
    content = {
        "format": kind,
        "versions": versions(),
        "made_of": _made_of(model.cfg, Path(checkpoint)),
        "preprocessing": describe_preprocessing(model.cfg, model),
        "inference": describe_inference(model),
        "classes": list(model.dataset_meta["classes"]),
        "palette": _palette(model.dataset_meta),
        "domain": describe_domain(model),
    }
    folder = _temporary(out)
    try:
        with explain_disk(out.parent):
            content.update(_write_graphs(model, content["inference"], kind, encoder, half, folder))
            del model
            content = write_manifest(folder, {**content, "verification": None})
        if files:
            # The model is read anew: the exported one has lost its adapters.
            reference = init_domino_model(cfg, str(checkpoint))
            content["verification"] = check_export(reference, folder, files, half)
            content = write_manifest(folder, content)
        _put(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return content


def _without_aids(cfg: Config) -> Config:
    """The config without what makes training faster or smaller and no difference to a result."""
    cfg = copy.deepcopy(cfg)
    backbone = cfg.model.get("backbone") or {}
    if type_name(backbone) == "DominoVPD":
        aids = {"compile": False, "checkpointing": False}
        backbone.execution = {**(backbone.get("execution") or {}), **aids}
        kept = {k: v for k, v in (backbone.get("vae") or {}).items() if k not in ("batch", "cache")}
        backbone.vae = kept
    return cfg


def _palette(meta: Mapping) -> list[list[int]]:
    """The classes' colours: the data set's, or hues at equal distances."""
    if meta.get("palette"):
        return [[int(value) for value in colour] for colour in meta["palette"]]
    count = len(meta["classes"])
    hues = (colorsys.hsv_to_rgb(index / count, 0.8, 0.9) for index in range(count))
    return [[round(255 * value) for value in colour] for colour in hues]


def _made_of(cfg: Config, checkpoint: Path) -> dict:
    return {
        "config": Path(cfg.filename).name if cfg.filename else None,
        "config_sha256": hashlib.sha256(cfg.pretty_text.encode()).hexdigest(),
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": file_sha256(checkpoint) if checkpoint.is_file() else None,
    }


def _write_graphs(
    model: nn.Module, inference: dict, kind: str, with_encoder: bool, half: bool, folder: Path
) -> dict:
    """Write both graphs; what ``model.json`` says of them."""
    data = model.data_preprocessor
    clip = getattr(data, "encoder", None)
    described, reason = None, "it was left out of the export (--no-encoder)"
    if clip is None:
        reason = "its config names no domain encoder"
    elif any(source.name == "oracle" for source in data.sources):
        reason = "the model was trained on the true domain of each image (source 'oracle')"
    elif with_encoder and clip.precision != "fp32":
        raise ValueError(
            f"the domain encoder computes in {clip.precision} and is exported in float32 alone: "
            "give --cfg-options domino.encoder.precision=fp32, or --no-encoder"
        )
    elif with_encoder:
        described, reason = _write_encoder(clip, data, kind, folder), None
    network, example = NetworkGraph(prepare(model)), _example(model, inference["window"])
    image = example.pop("image")
    try:
        names = domain_inputs(network, image, example)
    except ValueError as error:
        if example:
            raise
        raise ValueError(
            "the model takes a domain embedding and its config names no encoder, which says what "
            "that is: give domino.encoder (--cfg-options), as in training"
        ) from error
    if half:
        network = NetworkGraph(network.model, torch.float16)
    inputs = {"image": image, **{name: example[name] for name in names}}
    program, multiple = export_network(network, inputs, inference["window"])
    inference["multiple"] = multiple
    inference["sides"] = None if multiple is None else list(free_sides(multiple))
    return {
        "network": {
            "file": save_program(program, kind, folder, "network", ["logits"]),
            "domain_inputs": {name: example[name].shape[1] for name in names},
            "largest_batch": LARGEST_BATCH,
            "precision": "float16" if half else "float32",
            "parameters": sum(p.numel() for p in network.parameters()),
            **({"opset": OPSET} if kind == "onnx" else {}),
        },
        "encoder": described,
        "encoder_left_out": reason,
    }


def _write_encoder(encoder: DomainEncoder, data: nn.Module, kind: str, folder: Path) -> dict:
    size = encoder.preprocessing["size"]
    size = (size, size) if isinstance(size, int) else tuple(size)
    graph = EncoderGraph(encoder, data.sources, data.domain_table)
    outputs = [*(source.space for source in data.sources), SCORES]
    program = export_encoder(graph, torch.rand(2, 3, *size))
    return {
        "file": save_program(program, kind, folder, "encoder", outputs),
        "outputs": outputs,
        "preprocessing": encoder.provenance()["preprocessing"],
    }


def _example(model: nn.Module, window: Sequence[int] | None) -> dict[str, Tensor]:
    """Two images, and every domain input that the model's samples can bring."""
    generator = torch.Generator().manual_seed(0)
    size = (_SIDE, _SIDE) if window is None else tuple(window)
    inputs = {"image": torch.randn(2, 3, *size, generator=generator)}
    data = model.data_preprocessor
    encoder = getattr(data, "encoder", None)
    if encoder is not None:
        for source in data.sources:
            table = source.table(encoder.text) if source.name != "image" else encoder.text.joint
            if data.domain_table is not None:
                table = data.domain_table.weight
            inputs[source.space] = table[[0, -1]].detach().clone().float()
        inputs[SCORES] = torch.full((2, len(encoder.text.keys)), 1 / len(encoder.text.keys))
    return inputs


def _check_free(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file()):
        raise FileExistsError(
            f"{out} is there and holds no exported model; give a new folder with --out"
        )


def _temporary(out: Path) -> Path:
    with explain_disk(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=out.parent))
        folder.chmod(0o755)
    return folder


def _put(folder: Path, out: Path) -> None:
    """Give a whole folder its name; an earlier one goes when the new one is there."""
    if not out.exists():
        folder.rename(out)
        return
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=out.parent) as old:
        out.rename(Path(old, "old"))
        folder.rename(out)


def summary(content: Mapping) -> str:
    """The lines that the command prints of ``model.json``."""
    network, encoder, checked = (content[n] for n in ("network", "encoder", "verification"))
    takes = " and ".join(["image", *network["domain_inputs"]])
    said = [
        f"network: {network['file']} ({network['parameters'] / 1e6:.1f} M parameters, "
        f"{network['precision']}; takes {takes})",
        f"domain encoder: {encoder['file']}"
        if encoder
        else f"no domain encoder: {content['encoder_left_out']}",
    ]
    if checked is not None:
        said.append(
            f"compared on {checked['images']} images: largest difference of logits "
            f"{checked['largest_difference']:.1e} of the largest, same label on "
            f"{100 * checked['same_label']:.3f} % of pixels"
        )
    return "\n".join(said)
