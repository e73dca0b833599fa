"""From checkpoint to folder, for every kind of model that it must serve."""

import json

import cv2
import numpy as np
import onnx
import pytest
import torch

from mmseg_domino.apps import export_check
from mmseg_domino.apps.export import export_model, summary
from mmseg_domino.apps.export_graphs import save_program
from mmseg_domino.apps.inference import init_domino_model
from mmseg_domino.inference import Segmenter

from ..small_domino import write_small_domino
from ..small_exports import MODELS_OF, write_small_export
from ..tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return str(write_tiny_clip(tmp_path_factory.mktemp("clip")))


def _images(folder, *sizes):
    for seed, size in enumerate(sizes):
        coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{seed}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def odd_images(tmp_path_factory):
    return _images(tmp_path_factory.mktemp("odd"), (130, 97), (151, 64))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """What the small model sees in the size 64 x 96."""
    return _images(tmp_path_factory.mktemp("images"), (96, 64), (192, 128))


@pytest.fixture
def small(tmp_path, clip):
    """The cheapest model there is."""
    return write_small_domino(tmp_path, clip)


@pytest.fixture(scope="module")
def whole_images(tmp_path_factory):
    """In multiples of 64, as a UNet sees them whole."""
    return _images(tmp_path_factory.mktemp("whole"), (128, 128), (192, 128))


# ONNX goes through torch.export, so that each is tested by it; one of each format is quick.
_QUICK = [("vpd", "torch"), ("dinov2-lora", "onnx")]
_SLOW = [("vpd-whole", "torch"), *((kind, "onnx") for kind in MODELS_OF)]
_CASES = [*_QUICK, *(pytest.param(*c, marks=pytest.mark.slow) for c in _SLOW if c not in _QUICK)]


@pytest.mark.parametrize(("kind", "form"), _CASES)
def test_an_export_says_what_its_checkpoint_says(
    kind, form, clip, odd_images, whole_images, tmp_path
):
    if form == "onnx" and torch.__version__ < (2, 7):
        pytest.skip("PyTorch 2.6 writes ONNX graphs of one batch size, which is an error")
    images = whole_images if kind == "vpd-whole" else odd_images
    config, checkpoint = write_small_export(tmp_path / kind, kind, clip)
    content = export_model(
        config, checkpoint, tmp_path / "out", form, encoder=False, images=[images]
    )
    found = content["verification"]
    assert found["images"] == 2
    assert found["largest_difference"] <= 1e-4
    assert found["same_label"] >= 0.9999
    inputs = {"joint": 16, "context": 24} if "vpd" in kind else {"joint": 16}
    assert content["network"]["domain_inputs"] == inputs
    segmenter = Segmenter(tmp_path / "out", windows_per_batch=5)
    assert content["inference"]["multiple"] == {"vpd-whole": 64, "segformer": 1}.get(kind)
    image = cv2.imread(str(images / "0.png"))[..., ::-1]
    day, night = (segmenter(image, n, probabilities=True) for n in ("clear_day", "night"))
    assert np.abs(day.probabilities - night.probabilities).max() > 1e-5
    assert (day.labels == day.probabilities.argmax(0)).all()
    assert segmenter(image[:40], "fog").labels.shape == (40, image.shape[1])
    if content["inference"]["window"] is None:
        with pytest.raises(ValueError, match="at most 4096 pixels and the image has 1 x 4097"):
            segmenter(np.zeros((1, 4097, 3), np.uint8), "fog")
    if form == "onnx":
        graph = onnx.load(tmp_path / "out" / "network.onnx")
        assert graph.opset_import[0].version >= 18
        assert not any("lora" in tensor.name for tensor in graph.graph.initializer)
        free = [bool(d.dim_param) for d in graph.graph.input[0].type.tensor_type.shape.dim]
        whole = content["inference"]["window"] is None
        assert free == [True, False, whole, whole]


def test_the_folder_says_everything(small, images, tmp_path):
    content = export_model(*small, tmp_path / "out", "torch", images=[images / "0.png"])
    assert content["inference"]["multiple"] == 4
    assert content == json.loads((tmp_path / "out" / "model.json").read_text())
    files = {p.name for p in (tmp_path / "out").iterdir()}
    assert files == {"model.json", "network.pt2", "encoder.pt2"}
    assert set(content["files"]) == files - {"model.json"}
    assert content["preprocessing"]["resize"] == [
        {"scale": [96, 64], "factor": None, "keep_ratio": True}
    ]
    assert content["inference"]["window"] is None
    assert content["made_of"]["checkpoint"] == "model.pth"
    assert content["domain"]["encoder"]["prompts"]["fog"]
    model = init_domino_model(small[0], str(small[1]))
    text = model.data_preprocessor.encoder.text
    np.testing.assert_allclose(content["domain"]["vectors"]["context"], text.context, atol=1e-6)
    assert "same label on 100.000 % of pixels" in summary(content)
    # An earlier export gives way; nothing is left beside it.
    export_model(*small, tmp_path / "out", "torch", encoder=False)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"model.json", "network.pt2"}
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    segmenter = Segmenter(tmp_path / "out")
    image = np.zeros((64, 96, 3), np.uint8)
    assert segmenter(image, "fog").labels.shape == (64, 96)
    with pytest.raises(ValueError, match=r"needs the image's domain \(context\) and has no enc"):
        segmenter(image)


def test_what_differs_is_refused_and_nothing_is_written(small, images, tmp_path, monkeypatch):
    monkeypatch.setattr(export_check, "LIMITS", {"float32": (1e-4, 1.1)})
    with pytest.raises(ValueError, match="the export differs from the checkpoint: logits by"):
        export_model(*small, tmp_path / "out", "torch", images=[images])
    assert not (tmp_path / "out").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_half_precision_states_its_difference(small, images, tmp_path, monkeypatch):
    # An untrained model is sure of nothing, so that labels change more easily than a trained one's.
    monkeypatch.setitem(export_check.LIMITS, "float16", (None, 0.95))
    content = export_model(*small, tmp_path / "out", "torch", half=True, images=[images])
    assert content["network"]["precision"] == "float16"
    assert 0 < content["verification"]["largest_difference"] < 1e-2
    state = torch.export.load(tmp_path / "out" / "network.pt2").state_dict
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float16}
    with pytest.raises(ValueError, match="give images to state by how much"):
        export_model(*small, tmp_path / "other", half=True)


def test_wrong_input(small, images, tmp_path, clip):
    config, checkpoint = small
    state = torch.load(checkpoint, weights_only=True)
    state["state_dict"].pop(next(k for k in state["state_dict"] if k.startswith("neck")))
    torch.save(state, tmp_path / "wrong.pth")

    def refused(said, *arguments, kind=ValueError, **options):
        with pytest.raises(kind, match=said):
            export_model(*arguments, **options)
        assert not (tmp_path / "out").exists()

    out = tmp_path / "out"
    refused("does not fit the model", config, tmp_path / "wrong.pth", out)
    refused("can not be found", config, tmp_path / "none.pth", out, kind=FileNotFoundError)
    refused("unknown format 'trt'", config, checkpoint, out, "trt")
    refused("holds no exported model", config, checkpoint, tmp_path, kind=FileExistsError)
    refused("none do not exist", config, checkpoint, out, "torch",
            images=[tmp_path / "none"], kind=FileNotFoundError)  # fmt: skip
    text = config.read_text()
    config.write_text(text + "\ntest_pipeline.insert(-1, dict(type='RandomFlip', prob=0.5))\n")
    refused("does RandomFlip to an image", config, checkpoint, out)


@pytest.mark.slow
def test_the_flagship_by_shape():
    """Stable Diffusion 1.5's own sizes, without memory: 860 M parameters on the meta device."""
    from mmengine.config import Config
    from mmseg.registry import MODELS

    from mmseg_domino.apps.export_graphs import NetworkGraph, export_network, prepare
    from mmseg_domino.engine import apply_domino

    cfg = apply_domino(Config.fromfile("configs/domino_vpd_cityscapes.py"))
    with torch.device("meta"):
        # Some parts are built for the processor whatever is asked for.
        model = prepare(MODELS.build(cfg.model).to("meta"))
        inputs = {
            "image": torch.empty(2, 3, 512, 512),
            "joint": torch.empty(2, 768),
            "context": torch.empty(2, 768),
        }
    for part in (model.backbone.unet, model.backbone.vae, model.backbone.context):
        part.has_weights = True
    assert sum(p.numel() for p in model.backbone.unet.parameters()) > 8e8
    for window, multiple in (((512, 512), None), (None, 64)):
        program, found = export_network(NetworkGraph(model), inputs, window)
        assert found == multiple
        [output] = program.graph.output_node().args[0]
        image = next(n for n in program.graph.nodes if n.name == "image").meta["val"]
        given, shape = (list(map(str, tensor.shape)) for tensor in (image, output.meta["val"]))
        assert shape == [given[0], "19", *given[2:]]
        assert (given[2] == "512") == (window is not None)


def test_an_onnx_graph_for_one_batch_size_is_refused(tmp_path):
    program = torch.export.export(
        torch.nn.Linear(3, 2).eval(), (), {"input": torch.rand(2, 3)}, strict=False
    )
    with pytest.raises(ValueError, match="does not take batches of every size"):
        save_program(program, "onnx", tmp_path, "network", ["logits"])
