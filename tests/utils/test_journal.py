import json

import pytest

from mmseg_domino.utils.journal import (
    Journal,
    JournalError,
    finished_images,
    journal_files,
    read_journal,
)


def write(folder, *entries, name="part0", **header):
    journal = Journal(folder, name, header)
    for entry in entries:
        journal.append(entry)
    journal.close()
    return journal.path


def entry(image, group="a/b"):
    return {"group": group, "image": image, "pixels": [1, 2]}


def test_what_is_written_is_read(tmp_path):
    write(tmp_path, entry("x"), entry("y"), name="part0", classes=["road"])
    write(tmp_path, entry("z"), name="part1", classes=["road"])
    assert [e["image"] for e in read_journal(tmp_path, {"classes": ["road"]})] == ["x", "y", "z"]
    assert finished_images(tmp_path) == {("a/b", image) for image in "xyz"}
    assert list(read_journal(tmp_path / "none")) == []
    with pytest.raises(JournalError, match=r"part0.*classes = \['road'\], this run has \['sky'\]"):
        list(read_journal(tmp_path, {"classes": ["sky"]}))


@pytest.mark.parametrize("left", [0, 5])
def test_a_line_that_a_kill_cut_off_is_named_and_its_image_done_again(left, tmp_path):
    path = write(tmp_path, entry("x"), entry("y"))
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:left])
    if left:
        with pytest.warns(UserWarning, match=rf"{path}, line 3 is cut off.*done again"):
            assert finished_images(tmp_path) == {("a/b", "x")}
    else:
        assert finished_images(tmp_path) == {("a/b", "x")}
    path.write_bytes(lines[0][:1])
    with pytest.warns(UserWarning, match="line 1 is cut off"):
        assert finished_images(tmp_path) == set()
    path.write_bytes(b"")
    assert finished_images(tmp_path) == set()


@pytest.mark.parametrize("line", [b"{", b"3", b"[]", b"{}", b'{"group": "a/b"}', b"\xff\xfe"])
def test_damage_names_file_line_and_remedy(line, tmp_path):
    path = write(tmp_path, entry("x"))
    path.write_bytes(path.read_bytes() + line + b"\n" + json.dumps(entry("y")).encode() + b"\n")
    with pytest.raises(JournalError, match=rf"{path}, line 3: damaged .*delete the file, or run"):
        finished_images(tmp_path)
    assert journal_files(tmp_path) == [path]
