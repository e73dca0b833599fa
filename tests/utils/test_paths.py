import pytest

from mmseg_domino.utils import OutsideNameError, resolve_below


@pytest.mark.parametrize("name", ["a.png", "town/a.png", "./a.png", "a..b.png", ".hidden/a", "é 1"])
def test_names_below_are_plain_joins(tmp_path, name):
    assert resolve_below(tmp_path, name, "list.json") == tmp_path / name


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../a.png", "a/../../b.png", "..", ".", "", "a/..", "\\\\host\\a", "C:\\a.png",
     "C:a.png", "a\\..\\..\\b", "a\0b", None, 3, ["a"], b"a"],
)  # fmt: skip
def test_names_outside_are_refused_with_the_file_that_names_them(tmp_path, name):
    with pytest.raises(OutsideNameError, match=r"list\.json names .*expected a path inside"):
        resolve_below(tmp_path, name, "list.json")


def test_links_may_lead_to_the_root_but_not_out_of_it(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "a.png").write_bytes(b"theirs")
    (root / "folder").symlink_to(outside)
    (root / "file.png").symlink_to(outside / "a.png")
    (root / "loop").symlink_to(root)
    (tmp_path / "alias").symlink_to(root)
    assert resolve_below(tmp_path / "alias", "new/b.png", "l").parent.name == "new"
    assert resolve_below(root, "loop/b.png", "l") == root / "loop/b.png"
    for name in ("folder/a.png", "folder/new.png", "file.png"):
        with pytest.raises(OutsideNameError, match="leads through a link"):
            resolve_below(root, name, "list.json")
    for name in ("folder/a.png", "file.png"):
        assert resolve_below(root, name, "list.json", links="any") == root / name
    with pytest.raises(OutsideNameError):
        resolve_below(root, "folder/../a.png", "list.json", links="any")
    # Replacing a link leaves what it leads to; writing through a linked folder does not.
    assert resolve_below(root, "file.png", "list.json", links="last") == root / "file.png"
    with pytest.raises(OutsideNameError, match="leads through a link"):
        resolve_below(root, "folder/a.png", "list.json", links="last")
