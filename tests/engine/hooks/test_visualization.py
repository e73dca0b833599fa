"""``--show-dir`` with names that no picture's writer takes."""

import os

import cv2
import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from mmseg_domino.engine.hooks import PrintableVisualizationHook
from mmseg_domino.engine.runner import DominoRunner


def test_a_name_that_is_no_utf_8_is_drawn_under_its_escapes(tmp_path):
    init_default_scope("mmseg")
    visualizer = SegLocalVisualizer.get_instance(
        "names", vis_backends=[dict(type="LocalVisBackend")], save_dir=str(tmp_path)
    )
    visualizer.set_dataset_meta(classes=["a", "b"], palette=[[0, 0, 0], [9, 9, 9]])
    image = tmp_path / os.fsdecode(b"caf\xe9.png")
    image.write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    sample = SegDataSample(metainfo={"img_path": str(image)})
    sample.pred_sem_seg = PixelData(data=torch.zeros(1, 8, 8, dtype=torch.int64))
    PrintableVisualizationHook(draw=True).after_test_iter(None, 0, {}, [sample])
    assert [p.name for p in tmp_path.rglob("test_*")] == ["test_caf\\xe9.png_1.png"]


def test_the_runner_puts_it_in_the_hosts_place(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "mmengine.runner.Runner.register_hook", lambda _, hook, __: seen.append(hook)
    )
    runner = DominoRunner.__new__(DominoRunner)
    runner.register_hook(dict(type="SegVisualizationHook", draw=True))
    assert seen == [dict(type=PrintableVisualizationHook, draw=True)]
