import json
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import Config

import mmseg_domino  # noqa: F401  makes `mmseg_domino::` bases known
from mmseg_domino.synthesis import GENERATORS, SynthesisTree
from tests.processes import run_domino_twice, start_domino
from tests.synthesis.scenes import write_cityscapes, write_disparity, write_pipeline
from tests.synthesis.test_run import content

ROOT = Path(__file__).parents[2]
PLUGIN = """
import time
import numpy as np
from mmseg_domino.synthesis import GENERATORS, Generated

@GENERATORS.register_module()
class SlowNoise:
    def check_domains(self, domains):
        pass
    def describe(self):
        return {"type": "SlowNoise"}
    def generate(self, requests):
        time.sleep(0.3)
        return [Generated(np.random.default_rng(r.seed).integers(0, 255, r.image.shape, np.uint8))
                for r in requests]
"""


def command(config, out, *options, domains="night,rain"):
    return ["synthesise", str(config), "--domains", domains, "--out", str(out), "--min-free", "0",
            *options]  # fmt: skip


@pytest.fixture
def here(domino, tmp_path, monkeypatch, capsys):
    """Run the command in this process; what it says."""

    def run_here(arguments, code=0):
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "slow_noise", raising=False)
        GENERATORS.module_dict.pop("SlowNoise", None)
        assert domino(*arguments) == code
        return capsys.readouterr()

    return run_here


@pytest.fixture
def config(tmp_path):
    """A config with a plug-in generator of its own."""
    dataset = write_cityscapes(tmp_path / "cityscapes")
    (tmp_path / "slow_noise.py").write_text(PLUGIN)
    path = tmp_path / "config.py"
    Config(
        dict(
            custom_imports=dict(imports=["slow_noise"]),
            train_dataloader=dict(dataset=dataset),
            synthesis=dict(generator=dict(type="SlowNoise")),
        )
    ).dump(path)
    return path


def test_killed_outright_and_started_again_it_ends_as_if_never_killed(config, tmp_path, here):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    said = here(command(config, whole)).out
    assert "night             4 kept      0 rejected" in said
    process = start_domino(tmp_path, tmp_path / "said.txt", *command(config, cut))
    deadline = time.time() + 120
    while len(SynthesisTree(cut).records()) < 3 and time.time() < deadline:
        time.sleep(0.02)
    process.kill()
    process.join()
    before = len(SynthesisTree(cut).records())
    assert 3 <= before < 8
    said = here(command(config, cut))
    assert f"{8 - before} made now" in said.out
    assert "image/s" in said.err or "s/image" in said.err  # progress and time left
    one, two = content(whole), content(cut)
    for page in (one, two):
        page.pop("summary.html")  # names its folder
    assert one == two
    # With another bank the folder is refused, and stays as it is.
    arguments = command(config, cut, "--bank", "driving", domains="rain_night")
    refused = here(arguments, code=1).err
    assert "begun with other settings" in refused
    assert "acdc there, driving now" in refused
    assert content(cut).items() >= two.items()


def test_two_processes_make_what_one_makes(config, tmp_path, here):
    depth = write_disparity(tmp_path)
    options = (
        "--cfg-options",
        "synthesis.generator.type=ClassicalWeather",
        f"synthesis.generator.depth.root={depth}",
    )
    domains = "fog,night,rain,snow"
    here(command(config, tmp_path / "one", *options, domains=domains))
    given = command(config, tmp_path / "two", *options, domains=domains)
    run_domino_twice(tmp_path, tmp_path, *given)
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    assert one.pop("summary.html")
    assert two.pop("summary.html")
    assert one == two
    lines = (tmp_path / "two/images.jsonl").read_text().splitlines()
    assert len({json.loads(line)["name"] + json.loads(line)["domain"] for line in lines}) == 16


def test_the_miniature_controlnet_with_clip_in_the_gate(config, tmp_path, here):
    folders = write_pipeline(tmp_path / "models")
    options = dict(type="ControlNetGenerator", size=(64, 64), steps=1, precision="fp32", **folders)
    clip = str(Path(folders["model"]).parent / "mini-clip")
    cfg = Config.fromfile(config)
    cfg.custom_imports = dict(imports=[])
    cfg.synthesis = dict(
        generator=options,
        gate=dict(
            encoder=dict(model=clip),
            min_similarity=-1.0,
        ),
    )
    cfg.dump(config)
    here(command(config, tmp_path / "out", "--limit", "2", "--batch-size", "2"))
    lines = [json.loads(x) for x in (tmp_path / "out/images.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    for line in lines:
        assert line["model"].endswith("mini-sd")
        if line["status"] == "kept":
            assert 0 <= line["scores"]["domain_score"] <= 1
            assert -1 <= line["scores"]["similarity"] <= 1
    header = json.loads((tmp_path / "out/synthesis.json").read_text())["maker"]
    assert header["gate"]["encoder"]["bank"] == "acdc"
    assert header["generator"]["type"] == "ControlNetGenerator"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--domains", "hail"], "prompt bank 'acdc': clear_day"),
        (["--loader", "val_dataloader"], "has no val_dataloader"),
        (["--cfg-options", "synthesis.generator.type=Nobody"], "unknown generator 'Nobody'"),
        (["--cfg-options", "synthesis.gates.a=1"], "unknown options ['gates'] in `synthesis`"),
        (["--cfg-options", "synthesis.gate.min_agreement=50"], "needs a segmentation model"),
    ],
)
def test_wrong_arguments_are_explained(config, tmp_path, options, words, here):
    arguments = command(config, tmp_path / "out", *options)
    assert words in here(arguments, code=1).err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "configs/synthesis").glob("*.py")),
    ids=lambda p: p.stem,
)
def test_the_configs_are_whole(path):
    cfg = Config.fromfile(path)
    if "synthesis" in cfg:
        assert cfg.train_dataloader.dataset.type == "CityscapesDataset"
        assert cfg.synthesis.generator.type in ("ControlNetGenerator", "ClassicalWeather")
        return
    dataset = cfg.train_dataloader.dataset
    assert dataset.type == "RatioConcatDataset"
    assert cfg.train_dataloader.sampler.type == "ResumableInfiniteSampler"
    named = path.stem.rsplit("_", 1)[1].split("-")[0].replace("to", ":")
    assert dataset.ratio == named
    real, synthetic = dataset.datasets
    steps = [step for step in real.pipeline if step.type != "SetDomain"]
    assert steps == list(synthetic.pipeline)  # the same augmentation


def test_the_mixing_config_reads_what_was_generated(tmp_path):
    from mmseg.registry import DATASETS

    import mmseg_domino.plugin  # noqa: F401
    from mmseg_domino.datasets import ResumableInfiniteSampler
    from mmseg_domino.domain import load_prompt_bank
    from mmseg_domino.synthesis import LabelledImages, Plan, QualityGate, synthesise
    from mmseg_domino.synthesis.quality import GateThresholds
    from mmseg_domino.synthesis.weather import ClassicalWeather

    source = write_cityscapes(tmp_path / "cityscapes")
    plan = Plan(["night", "rain"], load_prompt_bank("acdc"), min_free=0.0)
    synthesise(LabelledImages(source), ClassicalWeather(), QualityGate(GateThresholds()),
               SynthesisTree(tmp_path / "made"), plan, progress=False)  # fmt: skip
    cfg = Config.fromfile(ROOT / "configs/synthesis/domino_vpd_cityscapes_4to1.py")
    dataset = cfg.train_dataloader.dataset
    for part, folder in zip(dataset.datasets, ("cityscapes", "made"), strict=True):
        part.data_root = str(tmp_path / folder)
    mixture = DATASETS.build(dataset)
    sampler = ResumableInfiniteSampler(mixture, seed=0, balance_domains=True)
    drawn = [index for index, _ in zip(sampler, range(50), strict=False)]
    seen = [mixture[index]["data_samples"] for index in drawn[:10]]
    names = [sample.dataset for sample in seen]
    assert names.count("cityscapes_synthetic") == 2
    assert {s.domain for s in seen if s.dataset == "cityscapes_synthetic"} == {"night", "rain"}
    assert all(sum(i >= 4 for i in drawn[k : k + 5]) == 1 for k in range(46))
