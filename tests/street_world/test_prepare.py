"""``python -m street_world``: makes everything once, says so, and is quick the second time."""

import subprocess
import sys

from street_world import prepare

ARGUMENTS = dict(train=1, val=1, size=(32, 64), workers=0)


def test_makes_data_and_models_and_says_what_they_are(tmp_path, capsys):
    folders = prepare(tmp_path, **ARGUMENTS)
    assert set(folders) == {"cityscapes", "acdc", "held_out", "clip", "sd", "controlnet"}
    assert all(folder.is_dir() for folder in folders.values())
    assert "mini-sd: trained on the procedural street world" in capsys.readouterr().out


def test_the_world_alone(tmp_path):
    folders = prepare(tmp_path, **ARGUMENTS, models=False)
    assert set(folders) == {"cityscapes", "acdc", "held_out"}
    assert not (tmp_path / "models").exists()


def test_second_time_needs_neither_diffusers_nor_open_clip(tmp_path):
    prepare(tmp_path, **ARGUMENTS)
    program = (
        "import sys; from street_world import prepare; "
        f"prepare({str(tmp_path)!r}, train=1, val=1, size=(32, 64)); "
        "print({'diffusers', 'open_clip', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"
