"""mmdet's detectors over the operators: a step of training and a prediction each."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
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
    "atss": "atss/atss_r50_fpn_1x_coco.py",
    "dino": "dino/dino-4scale_r50_8xb2-12e_coco.py",
    "mask2former": "mask2former/mask2former_r50_8xb2-lsj-50e_coco.py",
}


def build(model):
    """A detector without weights to fetch."""
    from mmdet.registry import MODELS

    model.backbone.init_cfg = None
    model.data_preprocessor.pop("batch_augments", None)
    return MODELS.build(model)


def read(name):
    return Config.fromfile(CONFIGS / DETECTORS[name]).model


def images(masks=False):
    from mmdet.testing import demo_mm_inputs

    sizes = [(3, 128, 128), (3, 96, 160)]
    return demo_mm_inputs(2, sizes, num_classes=20, with_mask=masks, use_box_type=True)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "mask-rcnn")) for n in DETECTORS]
)
def test_a_detector_learns_and_detects(name, device):
    torch.manual_seed(0)
    model = read(name)
    if name == "dino":
        model.num_queries = 100  # of the few positions of small images
    if name == "faster-rcnn-dcnv2":
        model.test_cfg.rcnn.nms = dict(type="soft_nms", iou_threshold=0.5)
    with DefaultScope.overwrite_default_scope("mmdet"):
        detector = build(model).to(device)
        batch = images(masks=name.startswith("mask"))
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


@pytest.mark.slow
def test_auxiliary_heads_beside_a_transformer_learn_together(device):
    """As Co-DETR trains: DINO, an RPN with a RoI head and ATSS on the same features, in one step.

    At the end its RoI head detects, with soft suppression as in Co-DETR's configs.
    """
    from mmdet.registry import MODELS

    torch.manual_seed(0)
    strides = [8, 16, 32, 64]  # of DINO's neck
    dino, two_stage, atss = read("dino"), read("faster-rcnn"), read("atss")
    dino.num_queries = 100
    two_stage.rpn_head.anchor_generator.strides = strides
    two_stage.roi_head.bbox_roi_extractor.featmap_strides = strides
    atss.bbox_head.anchor_generator.strides = strides
    suppression = dict(type="soft_nms", iou_threshold=0.5, min_score=1e-3)
    test_cfg = ConfigDict(score_thr=0.0, nms=suppression, max_per_img=50)
    with DefaultScope.overwrite_default_scope("mmdet"):
        detector = build(dino).to(device).train()
        rpn, roi, dense = (
            MODELS.build({**head, "train_cfg": train, "test_cfg": test}).to(device)
            for head, train, test in (
                (two_stage.rpn_head, two_stage.train_cfg.rpn, two_stage.test_cfg.rpn),
                (two_stage.roi_head, two_stage.train_cfg.rcnn, test_cfg),
                (atss.bbox_head, atss.train_cfg, atss.test_cfg),
            )
        )
        data = detector.data_preprocessor(images(), True)
        inputs, batch = data["inputs"], data["data_samples"]
        losses = [detector.loss(inputs, batch)]
        features = detector.extract_feat(inputs)
        proposal_cfg = two_stage.train_cfg.rpn_proposal
        found, proposals = rpn.loss_and_predict(features, batch, proposal_cfg=proposal_cfg)
        losses += [found, dense.loss(features, batch), roi.loss(features, proposals, batch)]
        total = sum(detector.parse_losses(part)[0] for part in losses)
        total.backward()
        assert total.isfinite()
        for part in (detector.encoder, rpn, dense, roi):
            assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
        with torch.no_grad():
            proposals = rpn.predict(features, batch)
            detected = roi.predict(features, proposals, batch)
    assert [len(one.scores) for one in detected] == [50, 50]
    assert all((one.scores.diff() <= 0).all() for one in detected)
