"""mmdet's detectors, made domain-aware by the mix-in: a step of training, and every mode."""

import copy

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope

pytest.importorskip("mmdet")

from mmdet.registry import MODELS, TRANSFORMS
from mmdet.testing import demo_mm_inputs

from mmseg_domino.detection.detector import domino_detector
from mmseg_domino.engine import apply_domino

D = 6
STOCK = {
    "faster-rcnn": "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "mask-rcnn": "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "retinanet": "retinanet/retinanet_r50_fpn_1x_coco.py",
    "dino": "dino/dino-4scale_r50_8xb2-12e_coco.py",
    "mask2former": "mask2former/mask2former_r50_8xb2-lsj-50e_coco.py",
    "mask2former-panoptic": "mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py",
}
PARTS = {"num_queries": 20, "num_points": 128, "score_thr": 0.0, "num_cp": -1, "init_cfg": None}


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


def mixed(tmp_path, name, options=""):
    path = tmp_path / "child.py"
    path.write_text(
        f"_base_ = ['mmdet::{STOCK[name]}', 'mmseg_domino::_base_/domino_detection.py']\n"
        f"domino = dict(domain_channels={D}, {options})\n"
    )
    return Config.fromfile(path)


def shrink(node):
    """Fewer layers, narrower, no downloads; the same parts."""
    if isinstance(node, list | tuple):
        for child in node:
            shrink(child)
    if not isinstance(node, dict):
        return
    for key, value in list(node.items()):
        if key in PARTS and not isinstance(value, bool):
            node[key] = PARTS[key]
        elif key == "num_layers" and isinstance(value, int) and value > 2:
            node[key] = 2
        elif key == "num_outs" and node.get("type") == "MSDeformAttnPixelDecoder":
            continue
        elif key in ("in_channels", "feat_channels", "embed_dims", "out_channels", "num_feats"):
            node[key] = value if isinstance(value, list) else (16 if key == "num_feats" else 32)
        elif key in ("fc_out_channels", "conv_out_channels", "feedforward_channels"):
            node[key] = 32
        elif key == "num_heads":
            node[key] = 4
        else:
            shrink(value)
    if node.get("type") == "DINOHead":
        node["embed_dims"] = 32
    if node.get("type") == "ResNet":
        node.update(depth=18, base_channels=8, frozen_stages=-1, norm_eval=False)
    if isinstance(node.get("in_channels"), list):
        widths = [8, 16, 32, 64]
        node["in_channels"] = widths[-len(node["in_channels"]) :]
        if "strides" in node and "pixel_decoder" in node:
            node["in_channels"] = widths


def build(cfg):
    model = copy.deepcopy(cfg.model)
    backbone = model.pop("backbone")
    shrink(model)
    if backbone.type != "DominoVPD":
        shrink(backbone)
    model.backbone = backbone
    model.data_preprocessor.pop("batch_augments", None)
    model.data_preprocessor.pop("domain_encoder", None)
    torch.manual_seed(0)
    built = MODELS.build(model)
    if hasattr(built, "level_embed"):  # memory as it was until init_weights, which makes heads mute
        torch.nn.init.normal_(built.level_embed)
    return built


def batch(name, shift=0.0, same=False):
    masks = name.startswith("mask")
    shapes = [(3, 64, 64)] * 2 if same else [(3, 64, 64), (3, 48, 80)]
    inputs = demo_mm_inputs(2, shapes, num_items=[2, 3], num_classes=20, with_mask=masks,
                            with_semantic=name.endswith("panoptic"), use_box_type=True)  # fmt: skip
    for index, sample in enumerate(inputs["data_samples"]):
        if name.endswith("panoptic"):
            sample.gt_sem_seg.sem_seg = torch.randint(80, 133, (1, *shapes[index][1:]))
        sample.set_metainfo(dict(domain_space="joint", img_path=f"{index}.png"))
        vector = torch.randn(D, generator=torch.Generator().manual_seed(index))
        sample.domain_embedding = vector + shift
    return inputs


def tensors(node):
    if torch.is_tensor(node):
        yield node.detach().float()
    elif hasattr(node, "all_items"):
        for _, value in node.all_items():
            yield from tensors(value)
    elif isinstance(node, dict):
        for value in node.values():
            yield from tensors(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from tensors(value)


def run(model, data, mode):
    torch.manual_seed(1)
    model.train(mode == "loss")
    data = model.data_preprocessor(copy.deepcopy(data), mode == "loss")
    with torch.no_grad():
        out = model(**data, mode=mode)
    if mode == "predict":
        kept = ("pred_instances", "pred_panoptic_seg")
        out = [[getattr(s, k) for k in kept if k in s] for s in out]
    return list(tensors(out))


def differ(a, b):
    return len(a) != len(b) or any(x.shape != y.shape or not x.equal(y)
                                   for x, y in zip(a, b, strict=True))  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n not in ("mask-rcnn", "dino"))) for n in STOCK],
)
def test_a_stock_detector_learns_detects_and_heeds_the_domain_in_every_mode(tmp_path, name):
    cfg = apply_domino(mixed(tmp_path, name))
    model = build(cfg)
    assert model.carries_domain
    data, other = batch(name), batch(name, shift=1.0)
    before = {m: differ(run(model, data, m), run(model, other, m)) for m in ("tensor", "predict")}
    assert not any(before.values()), "an untrained modulation is the plain detector"
    start = {n: p.clone() for n, p in model.backbone.domain.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    losses = model.train().train_step(data, OptimWrapper(optimizer))
    assert losses["loss"].isfinite()
    assert any(not p.equal(start[n]) for n, p in model.backbone.domain.named_parameters())
    model = build(cfg)  # a step alone may change too little to be seen
    for parameter in model.backbone.domain.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    for mode in ("loss", "tensor", "predict"):
        assert differ(run(model, data, mode), run(model, other, mode)), mode
    assert model._condition.domain is None, "nothing is kept between calls"


@pytest.mark.parametrize("name", ["mask-rcnn", pytest.param("dino", marks=pytest.mark.slow)])
def test_images_without_objects_can_be_trained_on(tmp_path, name):
    model = build(apply_domino(mixed(tmp_path, name)))
    data = batch(name)
    for sample in data["data_samples"]:
        sample.gt_instances = sample.gt_instances[:0]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    assert model.train().train_step(data, OptimWrapper(optimizer))["loss"].isfinite()


def test_parameters_are_the_stock_detectors_and_a_mixed_batch_is_that_of_its_images(tmp_path):
    cfg = apply_domino(mixed(tmp_path, "faster-rcnn"))
    assert (cfg.model.type, cfg.model.detector) == ("DominoDetector", "FasterRCNN")
    model = build(cfg)
    stock = copy.deepcopy(cfg.model)
    stock.type, stock.backbone = stock.pop("detector"), stock.backbone.backbone
    names = set(model.state_dict())
    plain = build(Config(dict(model=stock)))
    assert set(plain.state_dict()) == {n for n in names if not n.startswith("backbone.domain.")}
    model.load_state_dict(plain.state_dict(), strict=False)
    for parameter in model.backbone.domain.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    data = batch("faster-rcnn", same=True)
    data["inputs"] = [data["inputs"][0]] * 2
    single = copy.deepcopy(data)
    single = {k: [v[1]] for k, v in single.items()}
    both = model.eval().test_step(copy.deepcopy(data))
    alone = model.test_step(single)
    torch.testing.assert_close(
        both[1].pred_instances.bboxes, alone[0].pred_instances.bboxes, rtol=0, atol=1e-3
    )
    assert not both[0].pred_instances.scores.equal(both[1].pred_instances.scores)


def test_test_time_augmentation_carries_the_domain(tmp_path):
    cfg = apply_domino(mixed(tmp_path, "retinanet"))
    module = build(cfg)
    for parameter in module.backbone.domain.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tta_cfg = ConfigDict(nms=dict(type="nms", iou_threshold=0.5), max_per_img=20)
    model = MODELS.build(dict(type="DetTTAModel", module=module, tta_cfg=tta_cfg)).eval()

    def views(shift):
        data = batch("retinanet", shift, same=True)
        flipped = copy.deepcopy(data)
        flipped["inputs"] = [x.flip(2) for x in flipped["inputs"]]
        for view, flip in ((data, False), (flipped, True)):
            for sample in view["data_samples"]:
                sample.set_metainfo(dict(flip=flip, flip_direction="horizontal" if flip else None,
                                         scale_factor=(1.0, 1.0)))  # fmt: skip
        keys = ("inputs", "data_samples")
        return {k: [data[k], flipped[k]] for k in keys}

    first, again, other = (
        list(tensors([s.pred_instances for s in model.test_step(views(shift))]))
        for shift in (0.0, 0.0, 1.0)
    )
    assert not differ(first, again)
    assert differ(first, other)


def test_vpd_is_a_backbone_of_a_detector(tmp_path):
    from ..models.diffusion.vpd_models import ARCHITECTURE

    backbone = dict(
        type="DominoVPD", weights=dict(name="random", architecture=ARCHITECTURE),
        classes=dict(count=5), attention=dict(space="context"),
    )  # fmt: skip
    cfg = mixed(tmp_path, "mask-rcnn", "backbone=dict(attention=dict(maps=()))")
    cfg.model.backbone = ConfigDict(backbone)
    cfg.model.neck.pop("in_channels")
    cfg.model.rpn_head.anchor_generator.strides = [8, 16, 32, 64, 128]
    for part in ("bbox_roi_extractor", "mask_roi_extractor"):
        cfg.model.roi_head[part].featmap_strides = [8, 16, 32, 64]
    cfg = apply_domino(cfg)
    assert cfg.model.backbone.type == "DominoVPD"
    model = build(cfg)
    data = batch("mask-rcnn")
    for sample in data["data_samples"]:
        sample.set_metainfo(dict(domain_space="context"))
        sample.domain_embedding = torch.randn(12)
    losses = model.train().train_step(
        data, OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    )
    assert losses["loss"].isfinite()


def test_pipelines_preprocessor_and_metric_become_dominos(tmp_path):
    cfg = apply_domino(mixed(tmp_path, "mask-rcnn", "store='s.safetensors'"))
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        steps = cfg[loader].dataset.pipeline
        assert [s.type for s in steps[:2]] == ["LoadImageFromFile", "LoadDomainEmbedding"]
        assert steps[-1].type == "PackDominoDetInputs"
        assert steps[-1].get("truth", False) == (loader != "train_dataloader")
    assert cfg.model.data_preprocessor.type == "DominoDetDataPreprocessor"
    assert cfg.test_evaluator.type == "DomainDetectionMetric"
    assert cfg.test_evaluator.metric == ["bbox", "segm"]
    assert "mmseg_domino.detection" in cfg.custom_imports.imports
    assert apply_domino(cfg) is cfg
    assert TRANSFORMS.get("LoadDomainEmbedding") is not None


def test_a_detector_that_cannot_be_wrapped_is_refused(tmp_path):
    from mmdet.models.detectors import SemiBaseDetector

    with pytest.raises(ValueError, match=r"SemiBaseDetector.*extract_feat"):
        domino_detector(SemiBaseDetector)
    cfg = mixed(tmp_path, "retinanet")
    cfg.model = ConfigDict(type="SoftTeacher", detector=dict(cfg.model))
    with pytest.raises(ValueError, match=r"detectors with a backbone.*SoftTeacher"):
        apply_domino(cfg)
    with pytest.raises(ValueError, match="mmdet's detectors, got 'ResNet'"):
        MODELS.build(dict(type="DominoDetector", detector="ResNet", backbone={}))


def test_without_mmdet_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    cfg = mixed(tmp_path, "retinanet")
    monkeypatch.setattr("mmseg_domino.engine.mixin.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs mmdet.*pip install"):
        apply_domino(cfg)
