"""``--show-dir`` with names that no picture's writer takes."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from mmseg_domino.engine.hooks import PrintableVisualizationHook
from mmseg_domino.engine.runner import DominoRunner
from mmseg_domino.utils.disk import FolderNotWritableError


@pytest.fixture
def drawn(tmp_path):
    """A function that draws one prediction, as ``--show-dir`` does."""
    init_default_scope("mmseg")
    visualizer = SegLocalVisualizer.get_instance(
        tmp_path.name, vis_backends=[dict(type="LocalVisBackend")], save_dir=str(tmp_path)
    )
    visualizer.set_dataset_meta(classes=["a", "b"], palette=[[0, 0, 0], [9, 9, 9]])
    image = tmp_path / os.fsdecode(b"caf\xe9.png")
    image.write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    sample = SegDataSample(metainfo={"img_path": str(image)})
    sample.pred_sem_seg = PixelData(data=torch.zeros(1, 8, 8, dtype=torch.int64))
    yield lambda: PrintableVisualizationHook(draw=True).after_test_iter(None, 0, {}, [sample])
    # the hook takes the last one that was made
    SegLocalVisualizer._instance_dict.pop(tmp_path.name)


def test_a_name_that_is_no_utf_8_is_drawn_under_its_escapes(drawn, tmp_path):
    drawn()
    assert [p.name for p in tmp_path.rglob("test_*")] == ["test_caf\\xe9.png_1.png"]


@pytest.mark.parametrize("left", [b"", None], ids=["empty", "nothing"])
def test_a_picture_that_was_not_written_is_an_error(left, drawn, tmp_path, monkeypatch):
    def imwrite(path, image):
        if left is not None:
            Path(path).write_bytes(left)
        return False

    monkeypatch.setattr(cv2, "imwrite", imwrite)
    with pytest.raises(FolderNotWritableError, match=r"test_caf.*_1\.png could not be written"):
        drawn()


def test_the_runner_puts_it_in_the_hosts_place(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "mmengine.runner.Runner.register_hook", lambda _, hook, __: seen.append(hook)
    )
    runner = DominoRunner.__new__(DominoRunner)
    runner.register_hook(dict(type="SegVisualizationHook", draw=True))
    assert seen == [dict(type=PrintableVisualizationHook, draw=True)]
