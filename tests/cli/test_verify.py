"""``domino verify`` on Rein and SoMA, as a user runs it; on VPD it is in test_vpd.py."""

import json

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from mmseg_domino.cli.main import main

from ..models.adapters.originals import write_set

pytest.importorskip("mmdet")


@pytest.mark.parametrize("kind", ["rein", "soma"])
def test_every_tensor_is_said_and_a_difference_fails(kind, tmp_path):
    stem = tmp_path / "set"
    write_set(stem, kind)

    def run(*options):
        return CliRunner().invoke(main, ["verify", str(stem), *options])

    result = run()
    assert result.exit_code == 0, result.output
    names = set(load_file(f"{stem}.activations.safetensors")) - {"images"}
    assert names == {line.split()[0] for line in result.output.splitlines() if line.endswith("ok")}
    assert result.output.endswith("all within 2e-05\n")
    assert run("--tolerance", "1e-12").exit_code == 1
    stored = load_file(f"{stem}.activations.safetensors")
    stored["class_logits"][0, 0, 0] += 1
    save_file(stored, f"{stem}.activations.safetensors")
    result = run()
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.output.splitlines() if "DIFFERS" in line] == [
        "class_logits"
    ]
    path = stem.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": "other"}))
    assert run().exit_code == 2
