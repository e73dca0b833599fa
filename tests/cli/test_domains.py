"""``domino domains``, as a user runs it."""

import json
import re

import cv2
import numpy as np
import pytest
import torch

from mmseg_domino.domain import EmbeddingStore

from ..processes import run_domino_twice
from ..tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    return str(write_tiny_clip(tmp_path_factory.mktemp("clip")))


@pytest.fixture
def acdc(tmp_path):
    """A tree like ACDC's, with two images a condition."""
    rng = np.random.default_rng(0)
    for condition in ("fog", "night"):
        for kind, suffix in (("rgb_anon", "rgb_anon"), ("gt", "gt_labelTrainIds")):
            folder = tmp_path / "acdc" / kind / condition / "val" / "GOPR0"
            folder.mkdir(parents=True)
            for i in range(2):
                shape = (24, 32, 3) if kind == "rgb_anon" else (24, 32)
                pixels = rng.integers(0, 19, shape, dtype=np.uint8)
                cv2.imwrite(str(folder / f"GOPR0_{i}_{suffix}.png"), pixels)
    return tmp_path / "acdc"


def test_list_prompt_banks(domino, capsys):
    assert domino("domains", "banks") == 0
    listed = capsys.readouterr().out
    assert "acdc           5 domains   75 prompts" in listed
    assert "driving       20 domains" in listed
    assert domino("domains", "banks", "weather") == 0
    assert "a driving scene in dense fog" in capsys.readouterr().out
    assert domino("domains", "banks", "wether") == 1
    assert "weather" in capsys.readouterr().err


def test_extract_a_folder_twice(domino, capsys, acdc, tiny_clip, tmp_path):
    out = tmp_path / "s.safetensors"
    arguments = (acdc / "rgb_anon", "--model", tiny_clip, "--out", out, "--workers", 0)
    assert domino("domains", "extract", *arguments, "--device", "cpu") == 0
    said = capsys.readouterr()
    assert "added 4, now 4 images" in said.out
    assert "a second" in said.out
    assert "4/4" in said.err  # the progress bar
    assert EmbeddingStore.open(out).keys[0] == "fog/val/GOPR0/GOPR0_0_rgb_anon.png"
    assert domino("domains", "extract", *arguments) == 0
    assert "nothing to add" in capsys.readouterr().out


CONFIG = """
root = {root!r}
def_ = dict(type='BaseSegDataset', data_root=root, img_suffix='_rgb_anon.png',
            seg_map_suffix='_gt_labelTrainIds.png', pipeline=[dict(type='NoSuchTransform')])
val_dataloader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=dict(
    data_prefix=dict(img_path='rgb_anon/fog/val', seg_map_path='gt/fog/val'), **def_)))
test_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[
    dict(data_prefix=dict(img_path=f'rgb_anon/{{c}}/val', seg_map_path=f'gt/{{c}}/val'), **def_)
    for c in ('fog', 'night')]))
"""


def test_extract_the_data_sets_of_a_config(domino, acdc, tiny_clip, tmp_path, capsys):
    config = tmp_path / "config.py"
    config.write_text(CONFIG.format(root=str(acdc)))
    out = tmp_path / "s.safetensors"
    arguments = (config, "--model", tiny_clip, "--out", out)
    assert domino("domains", "extract", *arguments, "--splits", "val", "--workers", 0) == 0
    assert EmbeddingStore.open(out).keys == tuple(
        f"rgb_anon/fog/val/GOPR0/GOPR0_{i}_rgb_anon.png" for i in range(2)
    )
    capsys.readouterr()
    checked = (config, "--out", out)
    assert domino("domains", "check", *checked) == 1
    said = capsys.readouterr().out
    assert "lacks 2 of 4 images" in said
    # The command it names does add them.
    command = next(line for line in said.splitlines() if "domains extract" in line)
    assert domino(*command.split()[1:], "--workers", 0) == 0
    assert domino("domains", "check", *checked) == 0
    assert "has all 4 images" in capsys.readouterr().out


def test_what_is_not_given_comes_from_the_config(domino, acdc, tiny_clip, tmp_path, capsys):
    config, store = tmp_path / "config.py", tmp_path / "declared.safetensors"
    config.write_text(
        CONFIG.format(root=str(acdc))
        + f"domino = dict(store={str(store)!r}, encoder=dict(model={tiny_clip!r}, bank='weather'))"
    )
    assert domino("domains", "extract", config, "--workers", 0) == 0
    assert EmbeddingStore.open(store).provenance["bank"] == "weather"
    out = tmp_path / "given.safetensors"
    arguments = (config, "--bank", "time_of_day", "--out", out, "--workers", 0)
    assert domino("domains", "extract", *arguments) == 0
    assert EmbeddingStore.open(out).provenance["bank"] == "time_of_day"
    assert domino("domains", "extract", acdc / "rgb_anon", "--model", tiny_clip) == 2
    assert "give --out" in capsys.readouterr().err


def test_a_config_without_its_data_is_explained(domino, tiny_clip, tmp_path, capsys):
    config = tmp_path / "config.py"
    config.write_text(CONFIG.format(root=str(tmp_path / "nowhere")))
    arguments = (config, "--model", tiny_clip, "--out", tmp_path / "s.safetensors")
    assert domino("domains", "extract", *arguments) == 1
    assert re.search(r"data set .* is not there: .*nowhere.* --splits", capsys.readouterr().err)


def test_two_data_sets_with_the_same_names_need_a_common_root(
    domino, acdc, tiny_clip, tmp_path, capsys
):
    config = tmp_path / "config.py"
    other = tmp_path / "other"
    other.symlink_to(acdc)
    config.write_text(
        f"def_ = dict(type='BaseSegDataset', img_suffix='.png', "
        f"data_prefix=dict(img_path='rgb_anon/fog/val', seg_map_path=''))\n"
        f"train_dataloader = dict(dataset=dict(data_root={str(acdc)!r}, **def_))\n"
        f"val_dataloader = dict(dataset=dict(data_root={str(other)!r}, **def_))\n"
    )
    arguments = (config, "--model", tiny_clip, "--out", tmp_path / "s.safetensors")
    assert domino("domains", "extract", *arguments) == 1
    assert "Give --root" in capsys.readouterr().err
    assert domino("domains", "extract", *arguments, "--root", tmp_path, "--workers", 0) == 0
    keys = EmbeddingStore.open(tmp_path / "s.safetensors").keys
    assert [key.split("/")[0] for key in keys] == ["acdc", "acdc", "other", "other"]


def test_extract_reports_damage_and_missing_weights(domino, capsys, acdc, tiny_clip, tmp_path):
    bad = acdc / "rgb_anon" / "fog" / "val" / "GOPR0" / "GOPR0_1_rgb_anon.png"
    bad.write_bytes(bad.read_bytes()[:-30])
    out = tmp_path / "s.safetensors"
    arguments = (acdc / "rgb_anon", "--model", tiny_clip, "--out", out, "--workers", 0)
    assert domino("domains", "extract", *arguments) == 1
    said = capsys.readouterr().err
    assert "GOPR0_1_rgb_anon.png" in said
    assert "--skip-bad" in said
    assert domino("domains", "extract", *arguments, "--skip-bad") == 0
    assert "left out 1 damaged images" in capsys.readouterr().out
    absent = (acdc, "--model", tmp_path / "absent", "--out", out)
    assert domino("domains", "extract", *absent) == 1
    assert "hf download" in capsys.readouterr().err


def test_extract_in_two_processes_equals_one(domino, acdc, tiny_clip, tmp_path):
    def arguments(name):
        return (
            *(str(acdc / "rgb_anon"), "--model", tiny_clip, "--out", str(tmp_path / name)),
            *("--batch-size", "1", "--workers", "1", "--device", "cpu"),
        )

    assert domino("domains", "extract", *arguments("one.safetensors")) == 0
    command = ("domains", "extract", *arguments("two.safetensors"))
    assert run_domino_twice(tmp_path, tmp_path, *command).count("added 4, now 4 images") == 1
    one, two = (EmbeddingStore.open(tmp_path / f"{n}.safetensors") for n in ("one", "two"))
    assert one.keys == two.keys
    torch.testing.assert_close(one.images(), two.images(), rtol=0, atol=1e-6)


def test_analyse(domino, capsys, acdc, tiny_clip, tmp_path):
    out = tmp_path / "s.safetensors"
    root = acdc / "rgb_anon"
    domino("domains", "extract", root, "--model", tiny_clip, "--out", out, "--workers", 0)
    capsys.readouterr()
    assert domino("domains", "analyse", out, "--data-root", root, "--condition", "GOPR0=snow") == 0
    said = capsys.readouterr()
    assert "mean of conditions" in said.out
    assert not said.err
    numbers = json.loads((tmp_path / "s_analysis" / "analysis.json").read_text())
    assert numbers["conditions"] == ["snow"]
    assert domino("domains", "analyse", out, "--data-root", tmp_path, "--out", tmp_path / "b") == 0
    assert "4 pictures could not be read below" in capsys.readouterr().err
    assert domino("domains", "analyse", tmp_path / "absent.safetensors") == 1
    assert "domino domains extract" in capsys.readouterr().err
    assert domino("domains", "analyse", out, "--condition", "fog") == 2
