"""Trained models as graphs: the network, and the encoder of its domains.

Shapes: ``B`` batch, ``h w`` size of the network's input, ``N`` classes, ``S T`` the encoder's
input, ``D`` embedding width, ``K`` domains.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import sympy
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from ..domain.sources import EmbeddingSource
from ..inference.graphs import open_graph
from ..models.layers.domain_inputs import SCORES
from .export_layers import fix_sizes, free_sizes

#: The first that has what an image model needs, and that all current runtimes read.
OPSET = 18
#: What the sides of whole images may have to be multiples of, best first. Behind pooling layers,
#: such as that of ResNet's stem, the tracer asks for even sizes.
_MULTIPLES = (1, 4, 32)
#: Over a latent diffusion model: 8 pixels a latent, and 8 latents a position at its coarsest.
_LATENT_MULTIPLES = (64,)
#: Of a graph for any size that a network is compared with.
_OTHER_SIDE = 128
#: Free numbers that height and width are multiples of.
_ROOTS = ("h", "w")
#: How far a graph may be from its network, relative to the largest logit.
_AT_OTHER_SIZES = {torch.float32: 1e-4, torch.float16: 3e-2}
#: diffusers' layers do something else with more.
LARGEST_BATCH = 63
#: An ONNX file holds at most 2 GiB; weights beyond lie beside it.
_ONE_FILE = 2**31 - 2**24
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


class NetworkGraph(nn.Module):
    """A segmentor from normalised images and their domain to logits of the images' size.

    Args:
        model: A segmentor of MMSegmentation or of this package.
        dtype: That it computes in.

    Shape:
        - ``image``: ``(B, 3, h, w)`` float32; ``joint`` and ``context``: ``(B, D)``; ``scores``:
          ``(B, K)``.
        - Output: ``(B, N, h, w)`` float32.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.model, self.dtype = model.to(dtype), dtype
        self.multiple = 1

    def forward(
        self,
        image: Tensor,
        joint: Tensor | None = None,
        context: Tensor | None = None,
        scores: Tensor | None = None,
    ) -> Tensor:
        given = {"joint": joint, "context": context, SCORES: scores}
        domain = {name: value for name, value in given.items() if value is not None}
        return self.run(image, domain or None)

    def run(self, image: Tensor, domain: Mapping[str, Tensor] | None) -> Tensor:
        """The same with the domain by name."""
        size = image.shape[2:]
        _use_multiple(size, self.multiple)
        # Heads read the size of the first image's, and tell windows by its type.
        metas = [{"ori_shape": size, "img_shape": size, "pad_shape": size}]
        condition = getattr(self.model, "_conditioned_on", None)
        with contextlib.nullcontext() if condition is None else condition(domain):
            return self.model.encode_decode(image.to(self.dtype), metas).float()


def _use_multiple(size: Sequence[int | torch.SymInt], multiple: int) -> None:
    """Tell a tracer at its start what it holds against the end: that sides are multiples.

    Sizes inside the network are then products, such as ``8 * h``. Otherwise they are nested floors
    of quotients, over which the tracer's algebra takes minutes in a UNet.
    """
    for length, root in zip(size, _ROOTS, strict=True):
        if isinstance(length, torch.SymInt):
            environment, side = length.node.shape_env, length.node.expr
            for symbol, sources in list(environment.var_to_sources.items()):
                if getattr(sources[0], "source_name", None) == root:
                    environment.evaluate_expr(sympy.Eq(side, multiple * symbol))


class EncoderGraph(nn.Module):
    """Preprocessed images to domain embeddings and scores.

    Args:
        encoder: The ``DomainEncoder``.
        sources: What the embeddings are made of, one a space.
        table: The trained table of ``source='learned'``.

    Shape:
        - ``pixels``: ``(B, 3, S, T)`` float32.
        - Output: ``(B, D)`` for each source, then the scores ``(B, K)``.
    """

    def __init__(
        self, encoder: nn.Module, sources: Sequence[EmbeddingSource], table: nn.Module | None
    ) -> None:
        super().__init__()
        self.clip, self.sources, self.table = encoder.clip, sources, table
        self.text = encoder.text

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        image = F.normalize(self.clip.encode_image(pixels).float(), dim=-1)
        embeddings = []
        for source in self.sources:
            embedding, scores = source(image, self.text)
            embeddings.append(embedding if self.table is None else self.table(embedding))
        return (*embeddings, scores)


class _Asked(dict):
    """Domain inputs that remember which were read."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.names.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: object = None) -> object:
        self.names.add(name)
        return super().get(name, default)


def domain_inputs(network: NetworkGraph, image: Tensor, offered: Mapping[str, Tensor]) -> list[str]:
    """Which of the domain inputs a network reads, in the order in which they are offered."""
    asked = _Asked(offered)
    with torch.no_grad():
        network.run(image, asked if offered else None)
    return [name for name in offered if name in asked.names]


def prepare(model: nn.Module) -> nn.Module:
    """Make a trained model ready to be exported, in place: evaluation mode, adapters merged."""
    if getattr(model.backbone, "tune", None) in ("lora", "soma"):
        model.backbone.merge_adapters()
    return model.eval().requires_grad_(False)


def export_network(
    network: NetworkGraph, inputs: Mapping[str, Tensor], window: tuple[int, int] | None
) -> tuple[ExportedProgram, int | None]:
    """The network as a graph whose batch is free.

    Args:
        network: The network.
        inputs: An example, two images long.
        window: Height and width that it is for; None for any.

    Returns:
        The graph; and for free sizes, of what their sides are multiples.

    Raises:
        ValueError: If the network cannot be followed, or not at any size.
    """
    with torch.no_grad():
        is_fixed = fix_sizes(network, lambda: network(**inputs))
    if window is not None:
        return _program(network, inputs, {}), None
    if is_fixed:
        raise ValueError(
            "Mask2Former's pixel decoder can be exported for windows only: give --cfg-options "
            "model.test_cfg.mode=slide model.test_cfg.crop_size=H,W model.test_cfg.stride=H,W"
        )
    free_sizes(network)
    latent = hasattr(network.model.backbone, "latent_stride")
    for multiple in _LATENT_MULTIPLES if latent else _MULTIPLES:
        low, high = (side // multiple for side in free_sides(multiple))
        roots = [Dim(name, min=low, max=high) for name in _ROOTS]
        sides = {axis: multiple * root if multiple > 1 else root
                 for axis, root in zip((2, 3), roots, strict=True)}  # fmt: skip
        network.multiple = multiple
        try:
            program = _program(network, inputs, sides)
            _check_other_size(program, network, inputs, multiple)
            return program, multiple
        except ValueError as error:
            reason = error
    raise ValueError(
        f"{reason}\nIt may be possible for windows of one size: --cfg-options "
        "model.test_cfg.mode=slide model.test_cfg.crop_size=H,W model.test_cfg.stride=H,W"
    )


def free_sides(multiple: int) -> tuple[int, int]:
    """The least and the most pixels of a side of whole images."""
    # Tracers take 1 for a constant, so that it takes two positions at the coarsest.
    return (2 * multiple if multiple > 1 else 64), 4096


@torch.no_grad()
def _check_other_size(
    program: ExportedProgram, network: NetworkGraph, inputs: Mapping[str, Tensor], multiple: int
) -> None:
    """Hold a graph for free sizes against its network at another size and batch.

    A tracer takes a number that went through ``int`` for a constant, and says nothing.
    """
    if inputs["image"].is_meta:
        return
    other = {name: tensor[:1] for name, tensor in inputs.items()}
    size = _OTHER_SIDE, _OTHER_SIDE + 2 * multiple
    other["image"] = F.interpolate(other["image"], size)
    expected = network(**other)
    try:
        found = program.module()(**other)
        difference = float((found - expected).abs().max() / expected.abs().max())
        said = f"its logits differ by {difference:.1e} of the largest"
    except RuntimeError as error:
        difference, said = float("inf"), str(error)
    if not difference <= _AT_OTHER_SIZES[network.dtype]:
        raise ValueError(
            f"torch.export made a graph of this {type(network.model).__name__} that is right at "
            f"one size only; at {size[0]} x {size[1]}: {said}"
        )


def export_encoder(encoder: EncoderGraph, pixels: Tensor) -> ExportedProgram:
    """The encoder as a graph whose batch is free.

    Raises:
        ValueError: If it cannot be followed.
    """
    return _program(encoder, {"pixels": pixels}, {})


def _program(
    module: nn.Module, inputs: Mapping[str, Tensor], sides: Mapping[int, Dim]
) -> ExportedProgram:
    batch = Dim("batch", min=1, max=LARGEST_BATCH)
    shapes = {name: {0: batch} for name in inputs}
    if sides:
        shapes["image"] = {0: batch, **sides}
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(
                module.eval(), (), dict(inputs), dynamic_shapes=shapes, strict=False
            )
    except Exception as error:  # each of the tracer's parts raises its own
        name = type(getattr(module, "model", module)).__name__
        raise ValueError(f"torch.export cannot follow this {name}: {error}") from error


def save_program(
    program: ExportedProgram, kind: str, folder: Path, name: str, outputs: Sequence[str]
) -> str:
    """Write a graph.

    Args:
        program: The graph.
        kind: ``"onnx"`` or ``"torch"``.
        folder: Where to.
        name: Of the file, without its ending.
        outputs: Names of what it gives.

    Returns:
        The file's name. ONNX's weights beyond 2 GiB lie beside it, in a file named ``.data``.

    Raises:
        ImportError: If ONNX's exporter is not installed.
        ValueError: If PyTorch wrote an ONNX graph that takes batches of one size only.
    """
    path = folder / f"{name}{SUFFIXES[kind]}"
    if kind == "torch":
        torch.export.save(program, path)
        return path.name
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "ONNX graphs are written with onnx and onnxscript: pip install '.[export]'"
        ) from error
    size = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    with _quiet():
        converted = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, output_names=list(outputs), verbose=False
        )
        converted.save(str(path), external_data=size > _ONE_FILE)
    _check_batch(path, program)
    return path.name


def _check_batch(path: Path, program: ExportedProgram) -> None:
    """Run a written graph with another batch than its example's, where onnxruntime is installed.

    PyTorch 2.6 writes the example's batch into the graph of a vision transformer.
    """
    try:
        graph = open_graph(path, "onnx")
    except ImportError:
        return
    _, inputs = program.example_inputs
    try:
        graph({name: tensor[:1].numpy() for name, tensor in inputs.items()})
    except Exception as error:  # onnxruntime's have no base of their own
        raise ValueError(
            f"PyTorch {torch.__version__} wrote an ONNX graph that does not take batches of every "
            f"size; export with a newer one (2.12 is tested), or as --format torch. onnxruntime: "
            f"{error}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say of their own inner workings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
