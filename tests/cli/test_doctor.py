"""``domino doctor`` with real configs, some of which can run here and some cannot."""

import pytest

from mmseg_domino.apps import installation
from mmseg_domino.apps.installation import check_host, check_requirements, check_torch
from street_world import prepare

from .running import ROOT

MINI = ROOT / "configs" / "domino_vpd_mini.py"


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    prepare(folder / "data" / "mini", train=2, val=1, size=(64, 128), workers=1)
    return folder


def problems(said):
    """What is printed of each problem: subject, text and remedy."""
    lines = said.splitlines()
    return {
        line.split(":")[0].removeprefix("problem").strip(): " ".join(lines[i : i + 2])
        for i, line in enumerate(lines)
        if line.startswith("problem")
    }


def test_the_machine_that_runs_the_tests_is_well(domino, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert domino("doctor") == 0
    said = capsys.readouterr().out
    assert not problems(said)
    for words in ("ok      mmseg_domino: ", "ok      torch: ", "processors, ", "GPU",
                  "hf download stable-diffusion-v1-5", "not found: data/acdc"):  # fmt: skip
        assert words in said


def test_a_config_before_and_after_its_embeddings(domino, world, capsys, monkeypatch):
    monkeypatch.chdir(world)
    assert domino("doctor", MINI) == 1
    found = problems(capsys.readouterr().out)
    assert set(found) == {"embeddings"}
    command = found["embeddings"].split("  domino ")[1].split()
    assert command == ["domains", "extract", str(MINI)]
    only_test = ["--splits", "test", "--workers", "0", "--device", "cpu"]
    assert domino(*command, *only_test) == 0
    capsys.readouterr()
    assert domino("doctor", MINI, "--no-model") == 1
    found = problems(capsys.readouterr().out)
    assert "lacks 2 of 7 images" in found["embeddings"]
    assert domino(*found["embeddings"].split("  domino ")[1].split(), "--workers", "0") == 0
    capsys.readouterr()
    assert domino("doctor", MINI) == 0
    said = capsys.readouterr().out
    assert f"{MINI} can run here" in said
    assert "train: CityscapesDataset: 2 images in data/mini/cityscapes" in said
    assert "test: ACDCDataset: 4 images" in said
    assert "has all 7 images" in said
    assert "DominoEncoderDecoder, " in said


def test_a_config_without_its_files(domino, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert domino("doctor", MINI, "--cfg-options", "load_from=none.pth") == 1
    said = capsys.readouterr().out
    found = problems(said)
    assert set(found) == {"train", "val", "test", "embeddings", "load_from", "model"}
    for name in ("train", "val", "test", "model"):
        assert found[name].endswith(" domino data mini")
    assert "there is no checkpoint none.pth" in found["load_from"]
    assert said.endswith("cannot run here\n")


def test_the_flagship_needs_weights_and_says_how_to_get_them(domino, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert domino("doctor", ROOT / "configs" / "domino_vpd_cityscapes.py") == 1
    found = problems(capsys.readouterr().out)
    assert "HF_HUB_OFFLINE=0 hf download stable-diffusion-v1-5/" in found["model"]
    assert "docs/data.md" in found["train"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = dict(", "SyntaxError"),
        ("_base_ = ['absent.py']", "absent.py"),
        ("domino = dict(sourse='soft')\nmodel = dict(type='EncoderDecoder')", "sourse"),
        ("custom_imports = dict(imports=['no_such_module'], allow_failed_imports=False)",
         "no_such_module"),
        ("model = dict(type='NoSuchSegmentor')", "NoSuchSegmentor"),
        ("model = dict(type='BaseSegmentor')\n"
         "train_dataloader = dict(dataset=dict(type='NoSuchDataset'))", "NoSuchDataset"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_used(domino, tmp_path, capsys, text, words):
    config = tmp_path / "config.py"
    config.write_text(text + "\n")
    assert domino("doctor", config) == 1
    assert words in " ".join(problems(capsys.readouterr().out).values())


def test_pretrained_weights_of_stock_models(domino, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path / "hub"))
    config = tmp_path / "config.py"
    head = "_base_ = ['mmseg::_base_/models/fcn_unet_s5-d16.py']\n"
    head += "norm_cfg = dict(type='BN')\nmodel = dict(data_preprocessor=None, backbone=dict("
    address = "https://download.openmmlab.com/unet-0123.pth"
    options = ["--cfg-options", "model.backbone.norm_cfg.type=BN",
               "model.decode_head.norm_cfg.type=BN", "model.auxiliary_head=None"]  # fmt: skip
    config.write_text(head + f"init_cfg=dict(type='Pretrained', checkpoint={address!r})))\n")
    assert domino("doctor", config, *options) == 0
    said = capsys.readouterr().out
    assert f"note    pretrained: {address} is fetched when training starts" in said
    config.write_text(head + "init_cfg=dict(type='Pretrained', checkpoint='absent.pth')))\n")
    assert domino("doctor", config, *options) == 1
    assert "there is no checkpoint absent.pth" in problems(capsys.readouterr().out)["pretrained"]


def test_packages_that_do_not_fit_are_named_with_the_command(monkeypatch):
    versions = {"torch": "2.11.0+cpu", "torchvision": "0.27.0", "numpy": "1.20", "mmcv": "2.1.0",
                "onedl-mmcv": "2.3.6"}  # fmt: skip
    monkeypatch.setattr(installation, "_version", versions.get)
    needs = {"torchvision": ["numpy", "torch==2.12.0"],
             "mmseg_domino": ["numpy>=1.24", "click>=8.1", "sphinx; extra == 'docs'"]}  # fmt: skip
    monkeypatch.setattr(installation, "requires", needs.get)
    [torch] = check_torch()
    assert torch.state == "problem"
    assert "torchvision 0.27.0 was built for torch==2.12.0" in torch.text
    assert torch.remedy == "pip install --upgrade torch==2.11.0 torchvision"
    numpy, click = check_requirements()
    assert (numpy.text, numpy.remedy) == (
        "1.20, mmseg_domino needs numpy>=1.24", 'pip install "numpy>=1.24"'
    )  # fmt: skip
    assert click.text == "not installed, mmseg_domino needs click>=8.1"
    host = {finding.subject: finding for finding in check_host()}
    assert "mmcv and onedl-mmcv overwrite each other's files" in host["mmcv"].text
    assert host["mmengine"].text == "not installed"
    assert "onedl.txt" in host["mmengine"].remedy


def test_a_package_that_does_not_import_is_a_problem(domino, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    assert domino("doctor", MINI) == 1
    assert "peft: cannot be imported: ModuleNotFoundError" in capsys.readouterr().out
