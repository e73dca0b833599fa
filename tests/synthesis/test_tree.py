import errno
import json
import os
from collections import namedtuple
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mmseg_domino.synthesis.tree import DiskFullError, OtherMakerError, Record, SynthesisTree
from mmseg_domino.utils import TEMPORARY_PREFIX
from mmseg_domino.utils.json_files import json_line

from .scenes import scene

MAKER = {"generator": {"type": "A", "size": [64, 128]}, "bank": "acdc"}


def record(name="town/a", domain="fog", status="kept", reason=None, **kwargs):
    given = dict(prompt="a prompt", negative_prompt="not this", **kwargs)
    return Record(name, name, domain, 0, 5, status, reason, "A", **given)


def fill(tree, *records, rank=0):
    with tree.writer(rank) as writer:
        for one in records:
            writer.write(one, *scene(0))


def test_images_labels_and_lines_are_where_they_belong(tmp_path):
    tree = SynthesisTree(tmp_path / "out")
    tree.open(MAKER)
    image, label = scene(0)
    bad = record("town/b", status="rejected", reason="black", scores={"phash": "ff"})
    fill(tree, record(), bad)
    path = tmp_path / "out" / "images" / "fog" / "town" / "a.png"
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], image)
    stored = cv2.imread(str(tmp_path / "out/labels/fog/town/a.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(stored, label)
    assert (tmp_path / "out/rejected/fog/town/b.png").is_file()
    assert not (tmp_path / "out/labels/fog/town/b.png").exists()
    assert tree.records() == {record().key: record(), bad.key: bad}
    assert tree.merge() == [record(), bad]
    lines = (tmp_path / "out/images.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == [None, "black"]
    assert not (tmp_path / "out/records").exists()
    assert len(tree.records()) == 2


def test_names_that_are_no_utf_8_are_kept(tmp_path):
    tree = SynthesisTree(tmp_path / "out")
    tree.open(MAKER)
    one = record(os.fsdecode(b"town/caf\xe9"))
    fill(tree, one)
    assert tree.merge() == [one]
    assert (tmp_path / "out/images/fog" / f"{one.name}.png").is_file()
    assert tree.records() == {one.key: one}


def test_a_label_is_linked_where_its_file_says_the_same(tmp_path):
    image, label = scene(0)
    file = tmp_path / "label.png"
    cv2.imwrite(str(file), label)
    tree = SynthesisTree(tmp_path / "out")
    with tree.writer(0) as writer:
        for _ in range(2):  # the second as after a kill
            writer.write(record(), image, label, str(file))
    assert os.path.samefile(file, tree.label_path("fog", "town/a"))


def test_a_line_that_a_kill_cut_off_is_dropped_and_the_file_goes_on(tmp_path):
    tree = SynthesisTree(tmp_path)
    fill(tree, record())
    part = tree.parts / "00000.jsonl"
    whole = part.read_bytes()
    part.write_bytes(whole + b'{"name": "town/b", "sou')
    assert set(tree.records()) == {record().key}
    fill(tree, record("town/c"))
    assert [key[0] for key in tree.records()] == ["town/a", "town/c"]


@pytest.mark.parametrize("field", ["name", "domain"])
@pytest.mark.parametrize("where", ["../../theirs", "/absolute"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, field, where):
    tree = SynthesisTree(tmp_path / "out")
    tree.open(MAKER)
    fill(tree, record())
    (one,) = tree.merge()
    theirs = tmp_path / "theirs.png"
    theirs.write_bytes(b"theirs")
    where = str(theirs.with_suffix("")) if where == "/absolute" else where
    bad = replace(one, **{field: where})
    (tmp_path / "out/images.jsonl").write_text(json_line(vars(bad)))
    with pytest.raises(ValueError, match=r"images\.jsonl names"):
        tree.records()
    with pytest.raises(ValueError, match=r"images\.jsonl names"):
        tree.reject(bad, "twin")
    assert theirs.read_bytes() == b"theirs"


def test_only_what_this_package_left_half_written_is_cleared_away(tmp_path):
    tree = SynthesisTree(tmp_path / "out")
    tree.open(MAKER)
    kept = [tmp_path / "out" / name for name in (".env.local", ".git/.x.y", "images/fog/.a.b.png")]
    half = tmp_path / "out/images/fog" / f"{TEMPORARY_PREFIX}x8.png"
    for path in (*kept, half):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"?")
    with tree.claimed(alone=True):
        assert all(path.is_file() for path in kept)
        assert not half.exists()


def test_damage_elsewhere_is_not_passed_over(tmp_path):
    tree = SynthesisTree(tmp_path)
    fill(tree, record(), record("town/b"))
    part = tree.parts / "00000.jsonl"
    part.write_bytes(b"{broken\n" + part.read_bytes())
    with pytest.raises(ValueError, match="line 1, is damaged"):
        tree.records()


@pytest.mark.parametrize("left", [1, 0])
def test_a_line_without_its_end_is_not_done(left, tmp_path):
    """A kill between a line and its end would otherwise lose it: who goes on cuts it off."""
    tree = SynthesisTree(tmp_path)
    fill(tree, record(), record("town/b"))
    part = tree.parts / "00000.jsonl"
    part.write_bytes(part.read_bytes()[: -1 - left])
    assert [key[0] for key in tree.records()] == ["town/a"]
    fill(tree, record("town/b"))
    assert [one.source for one in tree.merge()] == ["town/a", "town/b"]


def test_a_kept_image_whose_file_has_gone_is_not_done(tmp_path):
    tree = SynthesisTree(tmp_path)
    fill(tree, record(), record("town/b"))
    tree.image_path("fog", "town/a").unlink()
    assert [key[0] for key in tree.records()] == ["town/b"]


def test_rejecting_later_and_being_killed_meanwhile(tmp_path):
    tree = SynthesisTree(tmp_path)
    fill(tree, record())
    tree.merge()
    changed = tree.reject(record(), "nearly the same as another")
    assert changed.status == "rejected"
    assert not tree.label_path("fog", "town/a").exists()
    assert tree.image_path("fog", "town/a", kept=False).is_file()
    assert tree.records() == {}  # killed here: made again
    tree.merge([changed])
    assert tree.records() == {changed.key: changed}


def test_a_record_made_again_replaces_the_old_one(tmp_path):
    tree = SynthesisTree(tmp_path)
    fill(tree, record())
    tree.merge()
    tree.image_path("fog", "town/a").unlink()
    again = replace(record(), status="rejected", reason="black")
    fill(tree, again)
    assert tree.merge() == [again]


def test_other_makers_are_refused_with_what_differs(tmp_path):
    tree = SynthesisTree(tmp_path / "out")
    tree.open(MAKER)
    tree.open(json.loads(json.dumps(MAKER)))
    with pytest.raises(OtherMakerError, match=r"maker\.bank: acdc there, weather now"):
        tree.open({**MAKER, "bank": "weather"})
    changed = {**MAKER, "generator": {"type": "A", "size": [64, 64]}}
    with pytest.raises(OtherMakerError, match=r"generator\.size"):
        tree.open(changed)


def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(OtherMakerError, match="not empty"):
        SynthesisTree(tmp_path).open(MAKER)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_runs_full_while_writing_is_named_and_loses_nothing(
    tmp_path, monkeypatch, code
):
    tree = SynthesisTree(tmp_path)
    fill(tree, record())

    def refuse(self, *_, **__):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr("PIL.Image.Image.save", refuse)
        full = code != errno.EIO  # any other trouble stays what it is
        words = r"ran full.*goes on from there" if full else "Input/output"
        with pytest.raises(DiskFullError if full else OSError, match=words):
            fill(tree, record("town/b"))
    assert set(tree.records()) == {record().key}
    assert not list(tmp_path.rglob(".*.png"))
    fill(tree, record("town/b"))
    assert len(tree.merge()) == 2


def test_too_little_disk_is_refused(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**10, 0, 3 * 2**30))
    tree = SynthesisTree(tmp_path)
    tree.check_disk(2**30, 2**30)
    with pytest.raises(DiskFullError, match=r"3\.0 GiB free; about 2\.0 GiB"):
        tree.check_disk(2 * 2**30, 2 * 2**30)
