"""mmdet's detectors over the operators: a step of training and a prediction each."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

mmdet = pytest.importorskip("mmdet")

CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"
#: Each calls other operators: roi_align and nms; deformable convolution; the focal loss; deformable
#: attention; point_sample.
DETECTORS = {
    "mask-rcnn": "_base_/models/mask-rcnn_r50_fpn.py",
    "faster-rcnn": "_base_/models/faster-rcnn_r50_fpn.py",
    "faster-rcnn-dcnv2": "dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py",
    "retinanet": "_base_/models/retinanet_r50_fpn.py",
    "dino": "dino/dino-4scale_r50_8xb2-12e_coco.py",
    "mask2former": "mask2former/mask2former_r50_8xb2-lsj-50e_coco.py",
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "mask-rcnn")) for n in DETECTORS]
)
def test_a_detector_learns_and_detects(name):
    from mmdet.registry import MODELS
    from mmdet.testing import demo_mm_inputs

    torch.manual_seed(0)
    model = Config.fromfile(CONFIGS / DETECTORS[name]).model
    model.backbone.init_cfg = None
    if name == "dino":
        model.num_queries = 100  # of the few positions of small images
    model.data_preprocessor.pop("batch_augments", None)
    masks = name.startswith("mask")
    if name == "faster-rcnn-dcnv2":
        model.test_cfg.rcnn.nms = dict(type="soft_nms", iou_threshold=0.5)
    with DefaultScope.overwrite_default_scope("mmdet"):
        detector = MODELS.build(model)
        batch = demo_mm_inputs(2, [(3, 128, 128), (3, 96, 160)], num_classes=20, with_mask=masks,
                               use_box_type=True)  # fmt: skip
        data = detector.data_preprocessor(batch, True)
        losses = detector.train()(**data, mode="loss")
        loss, _ = detector.parse_losses(losses)
        loss.backward()
        assert loss.isfinite()
        trained = [p for p in detector.backbone.parameters() if p.requires_grad]
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
        with torch.no_grad():
            found = detector.eval()(**detector.data_preprocessor(batch, False), mode="predict")
    assert len(found) == 2
    assert found[0].pred_instances.bboxes.shape[1] == 4
    assert found[0].pred_instances.scores.isfinite().all()
