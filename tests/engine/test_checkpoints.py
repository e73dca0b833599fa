"""Every way to a checkpoint: what is in it is never run."""

import shutil

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmseg.apis import init_model
from mmseg.registry import MODELS
from safetensors.torch import save_file
from torch import nn

from mmseg_domino.apps.inference import init_domino_model
from mmseg_domino.apps.synthesis import load_segmentor
from mmseg_domino.domain import DomainEncoder
from mmseg_domino.engine import load_from_safetensors
from mmseg_domino.models.diffusion.files import read_state_dict
from mmseg_domino.utils.checkpoints import CheckpointError, UnsafeCheckpointError
from tests.payload import Payload
from tests.small_domino import write_small_domino
from tests.tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Config and checkpoint of a small model, and the folder of its CLIP."""
    folder = tmp_path_factory.mktemp("domino")
    clip = write_tiny_clip(folder / "clip")
    return (*write_small_domino(folder, f"local-dir:{clip}"), clip)


@pytest.fixture
def armed(files, tmp_path):
    """A checkpoint that fits the small model and creates a file when read carelessly."""
    content = torch.load(files[1], weights_only=True)
    content["message_hub"] = Payload(tmp_path / "it ran")
    path = tmp_path / "armed.pth"
    torch.save(content, path)
    yield path
    assert not (tmp_path / "it ran").exists()


def refused(call, *arguments, **options):
    with pytest.raises(UnsafeCheckpointError, match=r"would run code from the file; it is refused"):
        call(*arguments, **options)


def test_models_and_apps_run_nothing(files, armed):
    refused(init_domino_model, str(files[0]), str(armed))
    refused(init_model, str(files[0]), str(armed), device="cpu")
    refused(load_segmentor, str(files[0]), str(armed), 3)
    refused(load_checkpoint, nn.Linear(1, 1), str(armed))


@pytest.mark.parametrize("prefix", [None, "backbone."])
def test_init_cfg_runs_nothing(armed, prefix):
    init_cfg = dict(type="Pretrained", checkpoint=str(armed), prefix=prefix)
    backbone = MODELS.build(dict(type="ResNetV1c", depth=18, base_channels=4, init_cfg=init_cfg))
    refused(backbone.init_weights)


@pytest.mark.parametrize(
    "address",
    ["http://host/armed.pth?x=1", "open-mmlab://resnet50_v1c", "torchvision://resnet18"],
)
def test_downloads_run_nothing(armed, address, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    fetched = []

    def download(url, path, progress):
        fetched.append(url)
        shutil.copy(armed, path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    refused(CheckpointLoader.load_checkpoint, address)
    refused(CheckpointLoader.load_checkpoint, address)
    assert len(fetched) == 1  # then it is in the cache
    with pytest.raises(FileNotFoundError, match="open-mmlab://nothing can not be found"):
        CheckpointLoader.load_checkpoint("open-mmlab://nothing")


def test_storage_runs_nothing(armed, monkeypatch):
    class Backend:
        def get(self, filename):
            return armed.read_bytes()

    monkeypatch.setattr(
        "mmseg_domino.engine.checkpoints.get_file_backend", lambda *a, **k: Backend()
    )
    with pytest.raises(UnsafeCheckpointError, match=r"s3://bucket/armed\.pth is a pickle"):
        CheckpointLoader.load_checkpoint("s3://bucket/armed.pth")
    with pytest.raises(ValueError, match="download the checkpoint first"):
        CheckpointLoader.load_checkpoint("pavi://x")


def test_weights_of_foundation_models_run_nothing(files, armed, tmp_path):
    refused(read_state_dict, armed)  # what the VPD backbone, the VAE and the converter read with
    clip = files[2]
    bare = tmp_path / "tiny.json"
    bare.write_text((clip / "open_clip_config.json").read_text())
    refused(DomainEncoder, str(bare), str(armed))
    refused(DomainEncoder, "RN50", str(armed))
    folder = tmp_path / "clip"
    folder.mkdir()
    shutil.copy(clip / "open_clip_config.json", folder)
    shutil.copy(armed, folder / "open_clip_pytorch_model.bin")
    refused(DomainEncoder, f"local-dir:{folder}")
    vit = MODELS.build(
        dict(type="TimmViT", model="vit_tiny_patch16_224", weights=str(armed), out_indices=(0,))
    )
    refused(vit.init_weights)


def test_training_checkpoints_are_read(tmp_path):
    """What MMEngine puts into its message hub, and NumPy's numbers under old and new names."""
    hub = MessageHub.get_instance("checkpoints")
    for value in (np.float64(0.5), 2, 3.5):
        hub.update_scalar("train/loss", value)
    hub.update_info("best_score", np.float32(3))
    hub.update_info("steps", [np.int64(1), np.bool_(True), np.arange(3, dtype=np.uint8)])
    path = tmp_path / "iter_1.pth"
    torch.save({"state_dict": {}, "message_hub": hub.state_dict()}, path)
    read = CheckpointLoader.load_checkpoint(str(path))
    other = MessageHub.get_instance("read")
    other.load_state_dict(read["message_hub"])
    assert other.get_scalar("train/loss").mean() == 2.0
    assert other.get_info("best_score") == 3
    assert list(other.get_info("steps")[2]) == [0, 1, 2]
    # The same file as NumPy 1 writes it, stored without compression and so with one length.
    import zipfile

    old = tmp_path / "numpy1.pth"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(old, "w") as target:
        for info in source.infolist():
            data = source.read(info).replace(b"numpy._core.", b"numpy.core.")
            target.writestr(info.filename.replace("iter_1", "numpy1"), data)
    assert (
        CheckpointLoader.load_checkpoint(str(old))["message_hub"]["runtime_info"]["steps"][0] == 1
    )


def test_getattr_is_for_histories_alone(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (dict, "__subclasses__")

    torch.save({"state_dict": {}, "x": Reach()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        CheckpointLoader.load_checkpoint(str(tmp_path / "a.pth"))


def test_a_model_loads_from_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    source, model = nn.Linear(2, 3), nn.Linear(2, 3)
    save_file(source.state_dict(), path)
    load_checkpoint(model, str(path), map_location="cpu", strict=True)
    assert torch.equal(model.weight, source.weight)
    assert load_from_safetensors(str(path))["meta"] == {}


@pytest.mark.parametrize(
    "name", ["model.pth", "http://host/model.safetensors", "s3://bucket/model.safetensors"]
)
def test_other_files_and_places_stay_apart(name):
    assert CheckpointLoader._get_checkpoint_loader(name) is not load_from_safetensors
    assert CheckpointLoader._get_checkpoint_loader("a/b.safetensors") is load_from_safetensors


def test_missing_and_damaged_files_are_named(tmp_path):
    for name in ("none.safetensors", "none.pth"):
        with pytest.raises(FileNotFoundError, match=rf"{name} can not be found"):
            load_checkpoint(nn.Linear(1, 1), str(tmp_path / name))
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(9)}, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"x\.safetensors cannot be read as safetensors"):
        load_checkpoint(nn.Linear(1, 1), str(path))
    (tmp_path / "x.pth").write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(CheckpointError, match=r"x\.pth cannot be read"):
        load_checkpoint(nn.Linear(1, 1), str(tmp_path / "x.pth"))


def test_the_small_model_itself_loads(files):
    model = init_domino_model(str(files[0]), str(files[1]))
    assert len(model.state_dict()) > 10
