import cv2
import numpy as np
import pytest

from street_world.__main__ import main
from street_world.sheets import contact_sheet
from street_world.street import PALETTE, render, sample_scene


def test_a_sheet_has_a_scene_a_column_and_a_domain_a_row():
    sheet = contact_sheet([5, 6], ["fog", "night"], 0.5, (64, 128))
    assert sheet.shape == (3 * 64, 2 * 128, 3)
    scene = sample_scene(6, (64, 128))
    # the name is drawn over the left of the first column alone
    np.testing.assert_array_equal(sheet[64:128, 128:], render(scene, "night", 0.5).image)
    label = render(scene).label
    known = label < len(PALETTE)
    np.testing.assert_array_equal(sheet[128:, 128:][known], np.array(PALETTE)[label[known]])


def test_the_command_writes_one_and_nothing_else(tmp_path, capsys):
    path = tmp_path / "sheet.png"
    main(["--contact-sheet", str(path), "--scenes", "1", "--domains", "rain", "--size", "32", "64"])
    assert cv2.imread(str(path)).shape == (2 * 32, 64, 3)
    assert list(tmp_path.iterdir()) == [path]
    assert "sheet.png" in capsys.readouterr().out


def test_a_folder_that_is_not_writable_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        main(["--contact-sheet", str(tmp_path / "file" / "x.png"), "--scenes", "1"])
