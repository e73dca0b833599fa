import copy

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS, TRANSFORMS

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino.engine import apply_domino

STOCK = {
    "segformer": "segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py",
    "deeplabv3plus": "deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py",
    "upernet_swin": "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py",
    "cascade": "ocrnet/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024.py",
}
D = 12


def mixed(tmp_path, name, options=""):
    path = tmp_path / "child.py"
    path.write_text(
        f"_base_ = ['mmseg::{STOCK[name]}', 'mmseg_domino::_base_/domino.py']\n"
        f"domino = dict(domain_channels={D}, {options})\n"
    )
    return Config.fromfile(path)


def shrink(cfg):
    """Fewer layers and no downloads, the same parts."""
    backbone = cfg.model.backbone.backbone
    backbone.pop("pretrained", None)
    backbone.init_cfg = None
    if backbone.type == "MixVisionTransformer":
        backbone.num_layers = [1, 1, 1, 1]
    elif backbone.type == "SwinTransformer":
        backbone.depths = [1, 1, 1, 1]
    return cfg


def types(pipeline):
    return [t["type"] for t in pipeline]


@pytest.mark.parametrize("name", STOCK)
def test_a_stock_config_becomes_a_domino_one_that_learns_and_predicts(tmp_path, name):
    cfg = shrink(apply_domino(mixed(tmp_path, name)))
    cascade = name == "cascade"
    assert cfg.model.type == ("DominoCascadeEncoderDecoder" if cascade else "DominoEncoderDecoder")
    cfg.model.test_cfg = dict(mode="whole")
    for node in _walk(cfg.model):
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
    cfg.model.data_preprocessor.size = None
    model = MODELS.build(cfg.model)
    stock = MODELS.build(
        {**copy.deepcopy(cfg.model), "type": cfg.model.type.removeprefix("Domino"),
         "backbone": cfg.model.backbone.backbone}
    )  # fmt: skip
    names = set(model.state_dict())
    assert set(stock.state_dict()) == {n for n in names if not n.startswith("backbone.domain.")}
    model.load_state_dict(stock.state_dict(), strict=False)

    x, samples = torch.randn(2, 3, 64, 64), _samples(64)
    with torch.no_grad():
        for ours, theirs in zip(
            _logits(model.eval(), x, samples), _logits(stock.eval(), x, samples), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    losses = model.train()(x, samples, mode="loss")
    sum(v for k, v in losses.items() if "loss" in k).backward()
    gradients = [p.grad for n, p in model.named_parameters() if n.startswith("backbone.domain.")]
    assert any(g is not None and g.abs().sum() > 0 for g in gradients)


def _walk(node):
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from _walk(child)


def _samples(size):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for i in range(2):
        meta = dict(img_path=f"{i}.png", ori_shape=(size, size), img_shape=(size, size),
                    pad_shape=(size, size), padding_size=[0] * 4, flip=False)  # fmt: skip
        label = torch.randint(0, 19, (1, size, size), generator=torch.Generator().manual_seed(i))
        sample = SegDataSample(gt_sem_seg=PixelData(data=label), metainfo=meta)
        sample.domain_embedding = torch.randn(D, generator=torch.Generator().manual_seed(i))
        samples.append(sample)
    return samples


def _logits(model, x, samples):
    return [s.seg_logits.data for s in model(x, copy.deepcopy(samples), mode="predict")]


def test_pipelines_attach_and_pack_the_embedding(tmp_path):
    cfg = apply_domino(mixed(tmp_path, "segformer", "store='store.safetensors'"))
    load = cfg.train_dataloader.dataset.pipeline[1]
    assert (load.type, load.missing, load.store) == ("LoadDomainEmbedding", "error", load.store)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        pipeline = types(loader.dataset.pipeline)
        assert pipeline[:2] == ["LoadImageFromFile", "LoadDomainEmbedding"]
        assert pipeline[-1] == "PackDominoInputs"
    assert cfg.test_dataloader.dataset.pipeline[1].missing == "error"
    assert cfg.test_pipeline[1].missing == "leave", "raw images are in no store"
    assert cfg.tta_pipeline[-1].transforms[-1][0].type == "PackDominoInputs"
    assert cfg.model.data_preprocessor.type == "DominoDataPreProcessor"
    assert cfg.test_evaluator.type == "DomainIoUMetric"
    assert "mmseg_domino.plugin" in cfg.custom_imports.imports


def test_without_a_store_clip_runs_in_the_pipeline(tmp_path):
    cfg = apply_domino(mixed(tmp_path, "segformer", "train=dict(noise=0.1), source='argmax'"))
    train, test = (c.dataset.pipeline[1] for c in (cfg.train_dataloader, cfg.test_dataloader))
    assert (train.type, train.source, train.noise) == ("EncodeDomain", "argmax", 0.1)
    assert "noise" not in test


def test_the_given_config_stays_and_twice_is_once(tmp_path):
    given = mixed(tmp_path, "segformer")
    before = given.pretty_text
    once = apply_domino(given)
    assert given.pretty_text == before
    assert apply_domino(once).pretty_text == once.pretty_text
    plain = Config(dict(model=dict(type="EncoderDecoder")))
    assert apply_domino(plain) is plain


def test_a_neck_goes_before_the_stock_one(tmp_path):
    options = "backbone=None, neck=dict(in_channels=[32, 64, 160, 256])"
    cfg = apply_domino(mixed(tmp_path, "segformer", options))
    assert cfg.model.backbone.type == "MixVisionTransformer"
    assert cfg.model.neck.type == "DominoNorm"
    assert cfg.model.neck.neck is None


def test_weights_named_by_the_segmentor_go_to_the_inner_backbone(tmp_path):
    cfg = apply_domino(mixed(tmp_path, "deeplabv3plus"))
    assert "pretrained" not in cfg.model
    assert cfg.model.backbone.backbone.pretrained == "open-mmlab://resnet18_v1c"


def test_the_segmentor_inside_test_time_augmentation_is_found(tmp_path):
    cfg = mixed(tmp_path, "segformer")
    cfg.model = dict(type="SegTTAModel", module=cfg.model)
    assert apply_domino(cfg).model.module.type == "DominoEncoderDecoder"


def test_weather_is_drawn_before_the_embedding_and_rendered_on_the_crop(tmp_path):
    options = "store='store.safetensors', weather=dict(prob=0.3, domains=['fog', 'night'])"
    cfg = apply_domino(mixed(tmp_path, "segformer", options))
    expected = [
        "LoadImageFromFile", "LoadAnnotations", "DrawWeather", "LoadDomainEmbedding",
        "RandomResize", "RandomCrop", "RandomFlip", "RenderWeather", "PhotoMetricDistortion",
        "PackDominoInputs",
    ]  # fmt: skip
    assert types(cfg.train_dataloader.dataset.pipeline) == types(cfg.train_pipeline) == expected
    draw = cfg.train_dataloader.dataset.pipeline[2]
    assert (draw.prob, draw.domains) == (0.3, ["fog", "night"])
    built = TRANSFORMS.build(draw)
    assert built.domains == ("fog", "night")
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert "DrawWeather" not in types(loader.dataset.pipeline)
    assert apply_domino(cfg) == cfg
    clip = apply_domino(mixed(tmp_path, "segformer", "weather=dict(embedding='clip')"))
    pipeline = clip.train_dataloader.dataset.pipeline
    assert types(pipeline)[2:4] == ["DrawWeather", "EncodeDomain"]
    assert pipeline[2].encoder == pipeline[3].encoder
    bad = mixed(tmp_path, "segformer", "weather=dict()")
    bad.train_dataloader.dataset.pipeline = bad.train_dataloader.dataset.pipeline[:1]
    with pytest.raises(
        ValueError, match=r"domino\.weather needs training pipelines that load labels"
    ):
        apply_domino(bad)


def test_one_line_sets_the_scale_of_all_tests(tmp_path):
    stock = apply_domino(mixed(tmp_path, "segformer"))
    cfg = apply_domino(mixed(tmp_path, "segformer", "test_scale=(1024, 512)"))

    def scales(pipeline):
        return [t.scale for t in pipeline if t.type == "Resize"]

    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert scales(loader.dataset.pipeline) == [(1024, 512)]
    assert scales(cfg.test_pipeline) == [(1024, 512)]
    assert cfg.train_pipeline == stock.train_pipeline
    assert cfg.tta_pipeline == stock.tta_pipeline


def test_bad_options_are_explained(tmp_path):
    with pytest.raises(ValueError, match=r"unknown options \['bakcbone'\] .* valid: "):
        apply_domino(mixed(tmp_path, "segformer", "bakcbone=None"))
    with pytest.raises(ValueError, match=r"domino\.encode must be 'store', .* got 'magic'"):
        apply_domino(mixed(tmp_path, "segformer", "encode='magic'"))
    with pytest.raises(ValueError, match=r"needs domino\.store"):
        apply_domino(mixed(tmp_path, "segformer", "encode='store'"))
    cfg = mixed(tmp_path, "segformer")
    cfg.model.type = "DepthEstimator"
    with pytest.raises(ValueError, match=r"this config has DepthEstimator"):
        apply_domino(cfg)


def test_options_changed_after_the_fact_are_refused(tmp_path):
    complete = apply_domino(mixed(tmp_path, "segformer"))
    complete.merge_from_dict({"domino.source": "argmax"})
    with pytest.raises(ValueError, match=r"domino\.source changed in a config that is complete"):
        apply_domino(complete)


def test_the_complete_config_survives_being_written_and_read(tmp_path):
    complete = apply_domino(mixed(tmp_path, "segformer"))
    complete.dump(tmp_path / "complete.py")
    again = Config.fromfile(tmp_path / "complete.py")
    assert apply_domino(again).model == complete.model


def test_nested_data_sets_and_scoped_names_are_reached(tmp_path):
    cfg = mixed(tmp_path, "segformer")
    leaf = cfg.train_dataloader.dataset
    for transform in leaf.pipeline:
        transform.type = f"mmseg.{transform.type}"
    outer = [dict(type="RandomMosaic", prob=1), leaf.pipeline.pop()]
    mix = dict(type="MultiImageMixDataset", dataset=leaf, pipeline=outer)
    repeat = dict(type="RepeatDataset", times=2, dataset=copy.deepcopy(cfg.val_dataloader.dataset))
    cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=[mix, repeat])
    mix, repeat = apply_domino(cfg).train_dataloader.dataset.datasets
    assert types(mix.dataset.pipeline)[:2] == ["mmseg.LoadImageFromFile", "EncodeDomain"]
    assert types(mix.pipeline) == ["RandomMosaic", "PackDominoInputs"]
    assert types(repeat.dataset.pipeline)[1] == "EncodeDomain"
    assert types(repeat.dataset.pipeline)[-1] == "PackDominoInputs"


def test_data_that_would_arrive_without_an_embedding_are_refused(tmp_path):
    cfg = mixed(tmp_path, "segformer")
    cfg.train_dataloader.dataset.pipeline[0].type = "ReadTiles"
    with pytest.raises(ValueError, match=r"train_dataloader loads an image in a way known here"):
        apply_domino(cfg)
    cfg = mixed(tmp_path, "segformer")
    cfg.test_dataloader.dataset.pipeline[-1].type = "PackMine"
    with pytest.raises(ValueError, match=r"test_dataloader do not end in PackSegInputs"):
        apply_domino(cfg)


def test_a_learned_table_lives_in_the_preprocessor(tmp_path):
    table = f"source='learned', assign='oracle', domain_table=dict(num_domains=5, channels={D})"
    cfg = apply_domino(mixed(tmp_path, "segformer", f"store='s.safetensors', {table}"))
    assert cfg.model.data_preprocessor.domain_table.num_domains == 5
    assert cfg.train_dataloader.dataset.pipeline[1].assign == "oracle"
    with pytest.raises(ValueError, match=r"goes with domino\.domain_table"):
        apply_domino(mixed(tmp_path, "segformer", "source='learned'"))


def test_two_names_of_weights_are_refused(tmp_path):
    cfg = mixed(tmp_path, "deeplabv3plus")
    cfg.model.backbone.pretrained = "mine.pth"
    with pytest.raises(ValueError, match=r"resnet18_v1c\) and .* \(mine\.pth\) are set; keep one"):
        apply_domino(cfg)


def test_backbones_that_take_the_embedding_get_the_same_options(tmp_path):
    cfg = mixed(tmp_path, "segformer")
    cfg.model.backbone = dict(type="DominoVPD", attention=dict(maps=(16,)))
    cfg.domino.update(
        store="store.safetensors",
        domain_channels=dict(joint=64, context=96),
        backbone=dict(tune="frozen", norms=r"^mid", centre="clear_day"),
    )
    assert apply_domino(cfg).model.backbone == dict(
        type="DominoVPD",
        attention=dict(maps=(16,), space="context"),
        tune="frozen",
        norms=dict(layers=r"^mid", space="joint"),
        domain_channels=64,
        centre=dict(domain="clear_day", store="store.safetensors"),
    )
    cfg.domino.backbone = dict(injection="none")
    plain = apply_domino(cfg).model.backbone
    assert plain == dict(type="DominoVPD", attention=dict(maps=(16,)), injection="none")
    cfg.domino.backbone = None
    assert apply_domino(cfg).model.backbone == cfg.model.backbone


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("domnio", "domino"), ("load_form", "load_from"), ("test_evaluators", "test_evaluator"),
        ("valid_dataloader", "val_dataloader"), ("new_part", "new_parts"),
    ],
)  # fmt: skip
def test_a_mistyped_key_of_the_config_is_refused(key, meant):
    with pytest.raises(ValueError, match=f"key '{key}' is read by nothing; is '{meant}' meant"):
        apply_domino(Config({key: dict(store="a.safetensors")}))
    apply_domino(Config(dict(crop_size=3, data_root="", dataset_type="", acdc_val=3, norm_cfg=3)))


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (dict(model="ViT-L-14", bnak="acdc"), r"unknown options \['bnak'\] in `domino.encoder`"),
        (dict(model="ViT-L-14", bank="acdcc"), "acdcc"),
    ],
)
def test_a_mistyped_option_of_the_encoder_is_refused_with_a_store_too(encoder, message):
    cfg = Config(dict(model=dict(), domino=dict(store="a.safetensors", encoder=encoder)))
    with pytest.raises(ValueError, match=message):
        apply_domino(cfg)


def test_an_embedding_is_of_the_image_as_it_is_loaded():
    model = dict(type="EncoderDecoder", backbone=dict(type="ResNet"))
    loading = [dict(type="LoadImageFromFile"), dict(type="Corrupt", corruption="fog", severity=1)]
    rest = [dict(type="Resize"), dict(type="PackSegInputs")]
    for pipeline in (loading + rest, loading[:1] + rest, loading):
        cfg = Config(dict(model=model, test_pipeline=pipeline, domino=dict()))
        kinds = [step["type"] for step in apply_domino(cfg).test_pipeline]
        at = kinds.index("EncodeDomain")
        assert kinds[:at] == [step["type"] for step in pipeline if step in loading]
