import pytest

from mmseg_domino.utils import TEMPORARY_PREFIX, atomic_write, write_text


def test_the_file_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    target = tmp_path / "new" / "figure.png"
    with atomic_write(target) as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == target.parent
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert [p.name for p in target.parent.iterdir()] == ["figure.png"]


def test_a_failure_keeps_the_old_file(tmp_path):
    target = tmp_path / "results.json"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="killed"), atomic_write(target) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError("killed")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_temporary_files_are_known_by_their_name(tmp_path):
    with atomic_write(tmp_path / ("a" * 250 + ".json")) as temporary:
        assert temporary.name.startswith(TEMPORARY_PREFIX)
        temporary.write_text("{}")


def test_a_text_is_written_whole_in_utf_8(tmp_path):
    write_text(tmp_path / "new" / "table.md", "größer\n")
    assert (tmp_path / "new" / "table.md").read_bytes() == "größer\n".encode()
