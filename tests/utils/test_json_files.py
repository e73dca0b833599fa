import json

import pytest

from mmseg_domino.utils.json_files import json_line, parse_line, read_json, write_json

CONTENT = {"keys": ["a", "caf\udce9"], "size": 0.1, "nested": {"b": None, "a": [1, True]}}


def test_what_is_written_is_read(tmp_path):
    write_json(tmp_path / "a.json", "x/1", CONTENT)
    assert read_json(tmp_path / "a.json", "x/1", "remedy") == CONTENT
    assert json.loads((tmp_path / "a.json").read_text())["format"] == "x/1"
    assert json_line(CONTENT).endswith("}\n")
    assert parse_line(json_line(CONTENT)) == CONTENT


def test_every_flipped_bit_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, "x/1", CONTENT)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            found = read_json(path, "x/1", "do this")
        except ValueError as error:
            said = str(error)
            found = (
                said.startswith(f"{path} is damaged (") and said.endswith("; do this") and CONTENT
            )
        assert found == CONTENT, bit


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"[" * 100_000, b"\xff", b"3"])
def test_other_content_is_refused_with_the_remedy(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json is damaged \(.*; do this$"):
        read_json(tmp_path / "a.json", "x/1", "do this")
    with pytest.raises(ValueError, match=r"no JSON|checksum|nested|decode|Expecting"):
        parse_line(content)


def test_another_format_is_refused(tmp_path):
    write_json(tmp_path / "a.json", "x/1", CONTENT)
    with pytest.raises(ValueError, match="expected the format 'x/2', found 'x/1'"):
        read_json(tmp_path / "a.json", "x/2", "")
