import hashlib
import json
import os
import shutil
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
from mmseg.registry import DATASETS
from PIL import Image

import mmseg_domino.datasets  # noqa: F401  registers FolderDataset
from mmseg_domino.apps.summary import write_summary
from mmseg_domino.domain import load_prompt_bank
from mmseg_domino.synthesis import (
    FolderInUseError,
    GateThresholds,
    Generated,
    LabelledImages,
    Plan,
    QualityGate,
    SynthesisTree,
    synthesise,
)
from mmseg_domino.synthesis import tree as tree_module
from mmseg_domino.synthesis.diffusion import ControlNetGenerator
from mmseg_domino.synthesis.tree import OtherMakerError
from mmseg_domino.utils import images, io

from .scenes import Recolour, scene

PLAN = Plan(["fog", "night"], load_prompt_bank("acdc"), min_free=0.0)
OPEN_GATE = QualityGate(GateThresholds())


def make(source, root, generator, gate=OPEN_GATE, plan=PLAN, **kwargs):
    tree = SynthesisTree(root)
    return synthesise(source, generator, gate, tree, plan, progress=False, **kwargs)


def content(root):
    """Hash of every file below a folder, by its path."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files}  # fmt: skip


@pytest.fixture
def source(cityscapes):
    return LabelledImages(cityscapes)


def test_the_result_is_read_by_the_ordinary_classes(source, tmp_path):
    report = make(source, tmp_path / "out", Recolour())
    assert report.count("kept") == {"fog": 4, "night": 4}
    own = DATASETS.build(dict(type="FolderDataset", data_root=str(tmp_path / "out"), domain=None))
    assert Counter(own.get_data_info(i)["domain"] for i in range(8)) == {"fog": 4, "night": 4}
    stock = DATASETS.build(
        dict(
            type="CityscapesDataset",
            data_root=str(tmp_path / "out"),
            data_prefix=dict(img_path="images", seg_map_path="labels"),
            img_suffix=".png",
            seg_map_suffix=".png",
            pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")],
        )
    )
    assert len(stock) == 8
    loaded = stock[0]
    assert np.array_equal(loaded["gt_seg_map"], scene(0)[1])
    assert loaded["img"].shape == (64, 128, 3)


def test_every_line_says_how_its_image_was_made(source, tmp_path):
    generator = Recolour()
    make(source, tmp_path / "out", generator)
    lines = [json.loads(x) for x in (tmp_path / "out/images.jsonl").read_text().splitlines()]
    assert {(line["source"], line["domain"], line["seed"]) for line in lines} == set(
        generator.asked
    )
    night = next(line for line in lines if line["domain"] == "night")
    assert any(word in night["prompt"] for word in ("night", "dark"))
    assert "sky" in night["prompt"]
    assert night["generator"] == "Recolour"
    # Any single image can be made again from its line.
    again = Recolour()
    small = replace(PLAN, domains=["night"])
    make(source, tmp_path / "again", again, plan=small)
    name = f"images/night/{night['name']}.png"
    assert content(tmp_path / "again")[name] == content(tmp_path / "out")[name]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_run_killed_anywhere_loses_nothing_and_makes_nothing_twice(
    source, tmp_path, batch_size, monkeypatch
):
    plan = replace(PLAN, batch_size=batch_size)
    make(source, tmp_path / "whole", Recolour(), plan=plan)
    root, stops = tmp_path / "cut", iter([2, 5])
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            make(source, root, Recolour(stop_after=stop), plan=plan)
    done = len(SynthesisTree(root).records())
    last = Recolour()
    make(source, root, last, plan=plan)
    assert len(last.asked) == 8 - done
    assert content(root) == content(tmp_path / "whole")


@pytest.mark.parametrize("step", range(1, 10))
def test_a_kill_between_any_two_writes(source, tmp_path, step, monkeypatch):
    """Each atomic write may be the last thing that happens."""
    make(source, tmp_path / "whole", Recolour())
    calls, real, writers = [], io.atomic_write, (images, io, tree_module)

    def dying(path):
        calls.append(path)
        if len(calls) == step:
            raise KeyboardInterrupt
        return real(path)

    with monkeypatch.context() as patch:
        for module in writers:
            patch.setattr(module, "atomic_write", dying)
        with pytest.raises(KeyboardInterrupt):
            make(source, tmp_path / "cut", Recolour())
    make(source, tmp_path / "cut", Recolour())
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_more_domains_and_more_images_a_label_may_follow(source, tmp_path):
    make(source, tmp_path / "out", Recolour(), plan=replace(PLAN, domains=["fog"], limit=2))
    more = Recolour()
    make(source, tmp_path / "out", more, plan=replace(PLAN, per_label=2))
    assert len(more.asked) == 16 - 2
    assert (tmp_path / "out/images/fog/town/town_000000_000019__1.png").is_file()
    first, second = (
        cv2.imread(str(tmp_path / f"out/images/fog/town/town_000000_000019{x}.png"))
        for x in ("", "__1")
    )
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("generator", "plan"),
    [
        (Recolour(tag="b"), PLAN),
        (Recolour(), replace(PLAN, bank=load_prompt_bank("weather"), domains=["fog"])),
        (Recolour(), replace(PLAN, seed=1)),
        (Recolour(), replace(PLAN, negative_prompt="dogs")),
    ],
)
def test_resuming_with_other_settings_is_refused(source, tmp_path, generator, plan):
    make(source, tmp_path / "out", Recolour())
    before = content(tmp_path / "out")
    with pytest.raises(OtherMakerError, match="begun with other settings"):
        make(source, tmp_path / "out", generator, plan=plan)
    assert content(tmp_path / "out") == before


def test_processes_share_the_work(source, tmp_path, monkeypatch):
    make(source, tmp_path / "one", Recolour())
    tree, parts = SynthesisTree(tmp_path / "two"), [Recolour(), Recolour()]
    # One after the other; the second is to find the folder as it was before the first began.
    synthesise(source, parts[0], OPEN_GATE, tree, PLAN, 0, 2, progress=False)
    found = [{}, tree.records()]
    monkeypatch.setattr(tree, "records", lambda: found.pop(0))
    synthesise(source, parts[1], OPEN_GATE, tree, PLAN, 1, 2, progress=False)
    monkeypatch.undo()
    tree.merge()
    assert len(parts[0].asked) == len(parts[1].asked) == 4
    assert not set(parts[0].asked) & set(parts[1].asked)
    assert content(tmp_path / "two") == content(tmp_path / "one")


def test_two_runs_in_one_folder_are_refused(source, tmp_path):
    """As when processes outlive their killed launcher and the command is given again."""
    tree = SynthesisTree(tmp_path / "out")
    seen = []

    class Late(Recolour):
        def generate(self, requests):
            if not seen:  # meanwhile, somebody starts another run
                half = tree.root / "images" / ".a.x.png"
                half.parent.mkdir(exist_ok=True)
                half.write_bytes(b"being written")
                with pytest.raises(FolderInUseError, match="another run is at work"):
                    make(source, tree.root, Recolour())
                seen.append(half.is_file())
                half.unlink()
            return super().generate(requests)

    report = make(source, tree.root, Late())
    assert seen == [True]
    assert report.count("kept") == {"fog": 4, "night": 4}
    assert len(make(source, tree.root, Recolour()).records) == 8  # free again


def test_bad_images_are_set_aside_with_their_reason(source, tmp_path):
    names = [source.name(i) for i in range(3)]
    black = np.zeros((64, 128, 3), np.uint8)
    problems = {
        names[0]: Generated(black),
        names[1]: Generated(black, "the model gave NaN or infinite values"),
        names[2]: Generated(None),
    }
    report = make(source, tmp_path / "out", Recolour(problems=problems))
    reasons = {r.source: r.reason for r in report.records if r.domain == "fog"}
    assert reasons[names[0]] == "the image is black"
    assert "NaN" in reasons[names[1]]
    assert "no image" in reasons[names[2]]
    assert report.count("kept") == {"fog": 1, "night": 1}
    assert (tmp_path / f"out/rejected/fog/{names[0]}.png").is_file()


def test_a_bad_label_is_set_aside_and_bad_labels_are_refused(cityscapes, tmp_path):
    labels = sorted((tmp_path / "cityscapes/gtFine").rglob("*.png"))
    cv2.imwrite(str(labels[2]), np.full((64, 128), 33, np.uint8))
    labels[3].write_bytes(b"no image")
    report = make(LabelledImages(cityscapes), tmp_path / "out", Recolour())
    reasons = [r.reason for r in report.records if r.status == "rejected" and r.domain == "fog"]
    assert "values [33] outside 0 to 18" in reasons[0]
    assert reasons[1].startswith("source: ")
    assert report.count("kept")["fog"] == 2
    for path in labels:
        cv2.imwrite(str(path), np.full((64, 128), 33, np.uint8))
    with pytest.raises(ValueError, match="none of the first labels can be used"):
        make(LabelledImages(cityscapes), tmp_path / "never", Recolour())
    assert not (tmp_path / "never").exists()


def test_a_damaged_image_is_listed_once_and_skipped(cityscapes, tmp_path):
    image = sorted((tmp_path / "cityscapes/leftImg8bit").rglob("*.png"))[2]
    image.write_bytes(image.read_bytes()[:-40])
    for asked in (6, 0):  # the second start has nothing to do
        generator = Recolour()
        report = make(LabelledImages(cityscapes), tmp_path / "out", generator)
        bad = [r for r in report.records if r.status == "rejected"]
        assert [r.domain for r in bad] == ["fog", "night"]
        assert all(r.reason.startswith(f"source: {image} is truncated") for r in bad)
        assert len(generator.asked) == asked


def test_labels_that_are_relative_links_are_followed(cityscapes, tmp_path):
    """As DVC and git-annex lay data sets out."""
    store = tmp_path / "store"
    store.mkdir()
    for number, label in enumerate(sorted((tmp_path / "cityscapes/gtFine").rglob("*.png"))):
        label.rename(store / f"{number}.png")
        label.symlink_to(os.path.relpath(store / f"{number}.png", label.parent))
    make(LabelledImages(cityscapes), tmp_path / "out", Recolour())
    again = Recolour()
    report = make(LabelledImages(cityscapes), tmp_path / "out", again)
    assert again.asked == []
    assert report.count("kept") == {"fog": 4, "night": 4}
    labels = list((tmp_path / "out/labels").rglob("*.png"))
    assert len(labels) == 8
    assert not any(path.is_symlink() for path in labels)


def test_further_images_do_not_take_another_sources_name(cityscapes, tmp_path):
    two = replace(PLAN, per_label=2)

    def copy(old, new):
        for folder, suffix in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelTrainIds")):
            town = tmp_path / f"cityscapes/{folder}/train/town"
            shutil.copy(town / f"{old}_{suffix}.png", town / f"{new}_{suffix}.png")

    copy("town_000000_000019", "img")
    copy("town_000001_000019", "img_1")
    report = make(LabelledImages(cityscapes), tmp_path / "out", Recolour(), plan=two)
    assert len({(r.domain, r.name) for r in report.records}) == len(report.records) == 24
    assert len(list((tmp_path / "out/images/fog").rglob("*.png"))) == 12
    copy("img", "img__1")
    with pytest.raises(ValueError, match=r"'town/img__1', as another source image is"):
        make(LabelledImages(cityscapes), tmp_path / "out", Recolour(), plan=two)


@pytest.mark.parametrize("kind", ["colours", "other palette"])
def test_labels_of_another_palette_are_set_aside(cityscapes, tmp_path, kind):
    """Colours in place of class numbers: as RGB, and as a palette image of ADE20K's numbers."""
    label = sorted((tmp_path / "cityscapes/gtFine").rglob("*.png"))[1]
    ade = scene(1)[1].astype(int) + 100
    if kind == "colours":
        Image.fromarray(np.dstack([ade.clip(0, 255).astype(np.uint8)] * 3)).save(label)
    else:
        picture = Image.fromarray(ade.clip(0, 149).astype(np.uint8), "P")
        picture.putpalette(range(256), "RGB")
        picture.save(label)
    report = make(LabelledImages(cityscapes), tmp_path / "out", Recolour())
    (reason,) = {record.reason for record in report.records if record.status == "rejected"}
    assert ("colour image" if kind == "colours" else "outside 0 to 18") in reason
    assert report.count("kept") == {"fog": 3, "night": 3}


def test_the_gate_rejects_and_near_duplicates_are_removed(source, tmp_path):
    same = Generated(scene(0)[0])
    names = [source.name(i) for i in range(4)]
    generator = Recolour(problems={names[0]: same, names[2]: same})
    wanted = scene(3)[1]
    gate = QualityGate(GateThresholds(min_agreement=90, max_duplicate_distance=0),
                       segment=lambda image: np.where(wanted == 255, 0, wanted))  # fmt: skip
    report = make(source, tmp_path / "a", generator, gate)
    assert report.count("kept") == {"fog": 1, "night": 1}  # only scene 3 agrees with its label
    gate = QualityGate(GateThresholds(max_duplicate_distance=0))
    report = make(source, tmp_path / "b", generator, gate)
    twin = next(r for r in report.records if r.source == names[2] and r.domain == "fog")
    assert twin.reason == f"nearly the same as {names[0]}"
    assert report.count("kept") == {"fog": 3, "night": 3}
    before = content(tmp_path / "b")
    again = Recolour(problems={names[0]: same, names[2]: same})
    make(source, tmp_path / "b", again, gate)
    assert not again.asked
    assert content(tmp_path / "b") == before


def test_a_full_disk_stops_the_run_and_it_goes_on_later(source, tmp_path):
    root = tmp_path / "out"
    with pytest.raises(OSError, match="goes on from there"):
        make(source, root, Recolour(), plan=replace(PLAN, min_free=1e9))
    assert len(make(source, root, Recolour()).records) == 8


def test_plans_are_checked():
    for wrong in (dict(per_label=0), dict(batch_size=0), dict(limit=0)):
        with pytest.raises(ValueError, match="at least 1"):
            replace(PLAN, **wrong)
    with pytest.raises(ValueError, match="prompt bank 'acdc'"):
        replace(PLAN, domains=["hail"])


def test_sources_without_labels_or_with_equal_names_are_refused(cityscapes, tmp_path):
    prefix = dict(img_path="leftImg8bit/train", seg_map_path="")
    with pytest.raises(ValueError, match="has no label"):
        LabelledImages({**cityscapes, "data_prefix": dict(img_path=prefix["img_path"])})
    both = dict(type="ConcatDataset", datasets=[cityscapes, cityscapes])
    with pytest.raises(ValueError, match="two source images are named"):
        LabelledImages(both)


def test_the_true_pipeline_end_to_end_and_the_page(source, tmp_path, pipeline_folders):
    generator = ControlNetGenerator(
        size=(64, 64), steps=1, precision="fp32", device="cpu", **pipeline_folders
    )
    plan = replace(PLAN, limit=2, batch_size=2)
    report = make(source, tmp_path / "out", generator, plan=plan)
    assert len(report.records) == 4
    for record in report.records:
        kept = record.status == "kept"
        image = cv2.imread(
            str(SynthesisTree(tmp_path / "out").image_path(record.domain, record.name, kept))
        )
        assert image.shape == (64, 128, 3)  # at the label's size, whatever was generated
    maker = {"generator": generator.describe()}
    page = write_summary(SynthesisTree(tmp_path / "out"), source, report.records, maker)
    text = page.read_text()
    assert text.count("data:image/jpeg") == 3 * 4
    assert report.records[0].prompt in text
    assert "http" not in text.replace("http-equiv", "")
