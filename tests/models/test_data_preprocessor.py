import copy

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData
from mmseg.apis import inference_model
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import mmseg_domino.models  # noqa: F401  (registers)
from mmseg_domino.domain import DomainEncoder
from mmseg_domino.domain.sources import EmbeddingSource
from mmseg_domino.models.data_preprocessor import DominoDataPreProcessor

from ..tiny_clip import write_tiny_clip

NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    return str(write_tiny_clip(tmp_path_factory.mktemp("clip")))


def _photo(seed=0, size=(64, 96)):
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def _batch(*arrays, **fields):
    samples = [SegDataSample(metainfo={"img_shape": a.shape[:2]}) for a in arrays]
    for sample in samples:
        sample.set_data(fields)
    return {
        "inputs": [torch.from_numpy(a).permute(2, 0, 1).contiguous() for a in arrays],
        "data_samples": samples,
    }


def test_encodes_the_raw_images(tiny_clip):
    bgr = [_photo(0), _photo(1)]
    preprocessor = DominoDataPreProcessor(**NORM, domain_encoder=dict(model=tiny_clip))
    result = preprocessor(_batch(*bgr))
    encoder = DomainEncoder(tiny_clip)
    pixels = torch.stack([encoder.prepare(image[:, :, ::-1]) for image in bgr])
    expected = encoder(pixels)[0]
    for sample, scores in zip(result["data_samples"], expected, strict=True):
        assert sample.domain_names == encoder.text.keys
        # Resizing on tensors may be one step of 255 off Pillow's.
        torch.testing.assert_close(sample.domain_scores, scores, atol=0.05, rtol=0)
        torch.testing.assert_close(
            sample.domain_embedding, sample.domain_scores @ encoder.text.context
        )
    plain = MODELS.build(dict(type="SegDataPreProcessor", **NORM))(_batch(*bgr))
    assert torch.equal(result["inputs"], plain["inputs"])


def test_the_order_of_channels_is_the_configs(tiny_clip):
    options = dict(domain_encoder=dict(model=tiny_clip), source="image", space="joint")
    image = _photo()
    bgr = DominoDataPreProcessor(bgr_to_rgb=True, **options)(_batch(image))
    rgb = DominoDataPreProcessor(rgb_to_bgr=True, **options)(_batch(image[:, :, ::-1].copy()))
    bgr, rgb = (out["data_samples"][0].domain_embedding for out in (bgr, rgb))
    torch.testing.assert_close(bgr, rgb)
    wrong = DominoDataPreProcessor(rgb_to_bgr=True, **options)(_batch(image))
    assert (wrong["data_samples"][0].domain_embedding - bgr).abs().max() > 1e-3


def test_samples_keep_an_embedding_that_they_have(tiny_clip):
    batch = _batch(_photo(0), _photo(1))
    batch["data_samples"][0].set_data({"domain_embedding": torch.arange(24.0)})
    result = DominoDataPreProcessor(domain_encoder=dict(model=tiny_clip))(batch)
    assert torch.equal(result["data_samples"][0].domain_embedding, torch.arange(24.0))
    assert result["data_samples"][1].domain_embedding.shape == (24,)
    assert "domain_embedding" not in batch["data_samples"][1]  # the loader's own stays as it was


def test_encoder_is_not_even_built_when_all_have_one(tmp_path):
    absent = dict(model=str(tmp_path / "absent"))
    preprocessor = DominoDataPreProcessor(domain_encoder=absent)
    preprocessor(_batch(_photo(), domain_embedding=torch.zeros(24)))
    with pytest.raises(FileNotFoundError, match="absent"):
        preprocessor(_batch(_photo()))


def test_training_on_crops_is_refused_unless_asked_for(tiny_clip):
    encoder = dict(model=tiny_clip)
    with pytest.raises(ValueError, match="LoadDomainEmbedding"):
        DominoDataPreProcessor(domain_encoder=encoder, size=(64, 96))(_batch(_photo()), True)
    asked = DominoDataPreProcessor(domain_encoder=encoder, size=(64, 96), encode_in_training=True)
    batch = _batch(_photo())
    batch["data_samples"][0].gt_sem_seg = PixelData(data=torch.zeros(1, 64, 96).long())
    assert asked(batch, True)["data_samples"][0].domain_embedding.shape == (24,)


def test_without_an_encoder_it_is_the_hosts(tiny_clip):
    batch = _batch(_photo())
    result = DominoDataPreProcessor(**NORM)(batch)
    assert "domain_embedding" not in result["data_samples"][0]


def test_encoder_is_no_part_of_the_model(tiny_clip):
    preprocessor = DominoDataPreProcessor(**NORM, domain_encoder=dict(model=tiny_clip))
    before = set(preprocessor.state_dict())
    assert preprocessor.encoder is not None
    assert set(preprocessor.state_dict()) == before
    assert not list(preprocessor.parameters())
    assert not preprocessor.train().encoder.training


def test_encoder_follows_the_model(tiny_clip):
    preprocessor = DominoDataPreProcessor(domain_encoder=dict(model=tiny_clip))
    encoder = preprocessor.encoder
    holder = torch.nn.ModuleList([preprocessor])
    holder.to("meta")
    assert encoder.device.type == "meta"


def test_encodes_on_any_device_as_on_the_cpu(tiny_clip, device):
    options = dict(domain_encoder=dict(model=tiny_clip), source="image", space="joint")
    cpu = DominoDataPreProcessor(**NORM, **options)(_batch(_photo()))
    there = DominoDataPreProcessor(**NORM, **options).to(device)
    assert there.encoder.device.type == device.type
    result = there(_batch(_photo()))["data_samples"][0].domain_embedding
    assert result.device.type == device.type
    torch.testing.assert_close(
        result.cpu(), cpu["data_samples"][0].domain_embedding, atol=0.02, rtol=0
    )


def _model(preprocessor, domain_channels=24):
    return MODELS.build(
        dict(
            type="DominoEncoderDecoder",
            data_preprocessor=preprocessor,
            backbone=dict(
                type="ResNetV1c", depth=18, base_channels=4, num_stages=4, norm_cfg=dict(type="BN")
            ),
            neck=dict(
                type="DominoNorm",
                in_channels=[4, 8, 16, 32],
                domain_channels=domain_channels,
                num_groups=2,
            ),
            decode_head=dict(
                type="FCNHead",
                in_channels=32,
                in_index=3,
                channels=8,
                num_convs=1,
                num_classes=3,
                norm_cfg=dict(type="BN"),
            ),
            train_cfg=dict(),
            test_cfg=Config(dict(mode="whole")),
        )
    )


def test_inference_model_needs_neither_store_nor_pipeline(tiny_clip, tmp_path):
    """``mmseg.apis.inference_model`` on a path and on an array; the domain counts."""
    model = _model(
        dict(type="DominoDataPreProcessor", **NORM, domain_encoder=dict(model=tiny_clip))
    ).eval()
    for parameter in model.neck.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=(96, 64), keep_ratio=True),
        dict(type="PackSegInputs"),
    ]
    model.cfg = Config(dict(test_pipeline=copy.deepcopy(pipeline)))
    cv2.imwrite(str(tmp_path / "a.png"), _photo())
    by_path = inference_model(model, str(tmp_path / "a.png"))
    assert by_path.domain_scores.sum() == pytest.approx(1)
    model.cfg = Config(dict(test_pipeline=copy.deepcopy(pipeline)))
    by_array = inference_model(model, _photo())
    torch.testing.assert_close(by_array.seg_logits.data, by_path.seg_logits.data)
    model.data_preprocessor.sources = [EmbeddingSource("null", "context")]
    model.cfg = Config(dict(test_pipeline=copy.deepcopy(pipeline)))
    undomained = inference_model(model, _photo())
    assert not torch.allclose(undomained.seg_logits.data, by_path.seg_logits.data)


def test_images_without_samples(tiny_clip):
    preprocessor = DominoDataPreProcessor(**NORM, domain_encoder=dict(model=tiny_clip))
    result = preprocessor({"inputs": torch.from_numpy(_photo()).permute(2, 0, 1)[None]})
    assert result["data_samples"][0].domain_embedding.shape == (24,)
    assert result["data_samples"][0].ori_shape == (64, 96)


def test_learned_table_is_trained_and_saved_with_the_model():
    table = dict(num_domains=5, channels=24)
    model = _model(
        dict(
            type="DominoDataPreProcessor",
            **NORM,
            size=(64, 96),
            source="learned",
            domain_table=table,
        )
    )
    key = "data_preprocessor.domain_table.weight"
    assert key in model.state_dict()
    for parameter in model.neck.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    optimiser = build_optim_wrapper(
        model, dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=1.0))
    )
    before = model.state_dict()[key].clone()
    batch = _batch(_photo(0), _photo(1))
    for sample, index in zip(batch["data_samples"], (1, 3), strict=True):
        sample.set_data({"domain_embedding": torch.eye(5)[index]})
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 3, (1, 64, 96)))
    model.train_step(batch, optimiser)
    changed = (model.state_dict()[key] != before).any(dim=1)
    assert changed.tolist() == [False, True, False, True, False]


def test_learned_table_starts_from_text_and_checks_widths(tmp_path, tiny_clip):
    from mmseg_domino.domain import write_store
    from mmseg_domino.domain.tables import LearnedDomainTable

    encoder = DomainEncoder(tiny_clip)
    store = tmp_path / "s.safetensors"
    image = encoder.encode_pixels(encoder.prepare(_photo())[None])
    write_store(store, ["a.png"], image, encoder.text, encoder.provenance())
    table = LearnedDomainTable(5, 24, init_store=str(store))
    torch.testing.assert_close(table(torch.eye(5)), encoder.text.context)
    with pytest.raises(ValueError, match=r"the table \(5, 16\)"):
        LearnedDomainTable(5, 16, init_store=str(store))
    with pytest.raises(ValueError, match="source='learned'"):
        table(torch.zeros(1, 24))


def test_learned_and_table_belong_together():
    with pytest.raises(ValueError, match="domain_table"):
        DominoDataPreProcessor(source="learned")
    with pytest.raises(ValueError, match="domain_table"):
        DominoDataPreProcessor(domain_table=dict(num_domains=5, channels=24))
