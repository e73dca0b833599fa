import pytest
import torch
from safetensors.torch import save_file

from mmseg_domino.utils.tensors import open_tensors, read_tensors, write_tensors

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3), "c": torch.empty(0, 4)}


def test_what_is_written_is_read(tmp_path):
    description = {"made_by": "x", "names": ["a"]}
    write_tensors(tmp_path / "a.safetensors", TENSORS, description)
    tensors, found = read_tensors(tmp_path / "a.safetensors")
    assert found == description
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[k], v) for k, v in TENSORS.items())


def test_every_flipped_bit_is_found_or_changes_no_tensor(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {"x": 1})
    whole, refused = path.read_bytes(), 0
    for bit in range(0, 8 * len(whole), 3):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        tensors, said = TENSORS, ""
        try:
            tensors, _ = read_tensors(path)
        except ValueError as error:
            said = str(error)
            refused += 1
        assert not said or str(path) in said
        assert all(torch.equal(tensors[k], v) for k, v in TENSORS.items()), bit
    assert refused > 0.8 * 8 * len(whole) / 3


def test_files_of_other_programs_are_taken_as_they_are(tmp_path):
    save_file(TENSORS, tmp_path / "a.safetensors")
    assert read_tensors(tmp_path / "a.safetensors")[1] == {}


@pytest.mark.parametrize("content", [b"", b"no tensors", (1 << 62).to_bytes(8, "little") + b"{}"])
def test_another_kind_of_file_is_named(content, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.safetensors cannot be read as safetensors"):
        read_tensors(tmp_path / "a.safetensors")
    with pytest.raises(FileNotFoundError), open_tensors(tmp_path / "b.safetensors"):
        pass
