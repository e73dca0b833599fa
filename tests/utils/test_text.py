import codecs
import json

import pytest

from mmseg_domino.utils import read_mapping, read_text

NAMES = "road\nfusée\n"


@pytest.mark.parametrize(
    "content",
    [
        NAMES.encode(),
        NAMES.replace("\n", "\r\n").encode(),
        codecs.BOM_UTF8 + NAMES.replace("\n", "\r\n").encode(),
        NAMES.encode("utf-16"),
        codecs.BOM_UTF16_BE + NAMES.encode("utf-16-be"),
        NAMES.encode("utf-32"),
    ],
)
def test_every_editors_file_holds_the_same_text(tmp_path, content):
    (tmp_path / "names.txt").write_bytes(content)
    assert read_text(tmp_path / "names.txt") == NAMES


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_other_encodings_are_refused_with_the_files_name(tmp_path, encoding):
    (tmp_path / "names.txt").write_bytes(NAMES.encode(encoding))
    with pytest.raises(ValueError, match=r"names\.txt .*save it as UTF-8"):
        read_text(tmp_path / "names.txt")


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_mappings(tmp_path, mark):
    wanted = {"a": {"b": [1, "é"]}}
    (tmp_path / "a.json").write_bytes(mark + json.dumps(wanted, ensure_ascii=False).encode())
    (tmp_path / "a.yaml").write_bytes(mark + "a: {b: [1, é]}".encode())
    (tmp_path / "m.yaml").write_bytes(mark + "x: &x {b: 2}\na: {<<: *x, b: [1, é]}".encode())
    assert read_mapping(tmp_path / "a.json") == read_mapping(tmp_path / "a.yaml") == wanted
    assert read_mapping(tmp_path / "m.yaml")["a"] == wanted["a"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"a": {"fog": 1, "fog": 2}}'),
        ("a.yaml", "a:\n  fog: [x]\n  fog: [y]\n"),
        ("a.yaml", "a: 1\nb: 2\na: 3\n"),
        ("a.json", "[1]"),
        ("a.yaml", "only text"),
        ("a.json", "{"),
        ("a.yaml", "a: [1"),
        ("a.yaml", "!!python/object/apply:os.system ['true']"),
    ],
)
def test_what_is_no_plain_mapping_is_refused_with_the_files_name(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name} (cannot be read|holds)"):
        read_mapping(tmp_path / name)
