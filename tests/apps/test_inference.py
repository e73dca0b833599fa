"""Single images: prepared as in a test, under the model's own or a forced domain."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmseg_domino.apps.inference import domains_of, force_domain, init_domino_model, predict_image
from mmseg_domino.domain import DomainEncoder

from ..small_domino import CLASSES, PALETTE, small_config, write_small_domino
from ..tiny_clip import write_tiny_clip

ACDC_BANK = ("clear_day", "fog", "night", "rain", "snow")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return str(write_tiny_clip(tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="module")
def files(tmp_path_factory, clip):
    return write_small_domino(tmp_path_factory.mktemp("model"), clip)


@pytest.fixture(scope="module")
def model(files):
    config, checkpoint = files
    return init_domino_model(config, str(checkpoint))


@pytest.fixture(scope="module")
def photo():
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, (120, 80), interpolation=cv2.INTER_CUBIC)


def given(model, photo, domain):
    """What the model's own ``test_step`` says of the photo with an embedding put on the sample."""
    small = cv2.resize(photo[..., ::-1], (96, 64), interpolation=cv2.INTER_LINEAR)
    sample = SegDataSample(metainfo=dict(img_shape=(64, 96), ori_shape=photo.shape[:2]))
    sample.set_data({"domain_embedding": domain})
    inputs = torch.from_numpy(np.ascontiguousarray(small)).permute(2, 0, 1)
    with torch.no_grad():
        output = model.test_step({"inputs": [inputs], "data_samples": [sample]})
    return output[0].pred_sem_seg.data[0].numpy()


def test_the_model_sees_the_domain_that_clip_sees(model, photo, clip):
    prediction = predict_image(model, photo)
    encoder = DomainEncoder(clip, bank="acdc")
    expected = encoder(encoder.prepare(photo)[None])[0][0].numpy()
    assert prediction.domain_names == ACDC_BANK
    # The pipeline resized the image first.
    np.testing.assert_allclose(prediction.domain_scores, expected, atol=0.1)
    assert prediction.domain == ACDC_BANK[int(np.argmax(prediction.domain_scores))]
    assert prediction.forced is None
    assert prediction.labels.shape == (80, 120)
    assert prediction.labels.dtype == np.uint8
    soft = torch.tensor(prediction.domain_scores) @ encoder.text.context
    np.testing.assert_array_equal(prediction.labels, given(model, photo, soft))


def test_a_forced_domain_is_the_text_embedding_of_that_domain(model, photo, clip):
    text = DomainEncoder(clip, bank="acdc").text
    seen = set()
    for index, name in enumerate(domains_of(model)):
        prediction = predict_image(model, photo, name)
        np.testing.assert_array_equal(
            prediction.labels, given(model, photo, text.context[index].float())
        )
        assert (prediction.forced, prediction.domain_names) == (name, ())
        assert prediction.domain is None
        seen.add(prediction.labels.tobytes())
    assert len(seen) > 1  # the domain matters


def test_forcing_ends_with_the_block_even_after_an_error(model, photo):
    before = predict_image(model, photo)
    with pytest.raises(RuntimeError, match="stop"), force_domain(model, "night"):
        raise RuntimeError("stop")
    after = predict_image(model, photo)
    np.testing.assert_array_equal(before.labels, after.labels)
    assert after.domain_names


def test_an_embedding_that_the_sample_has_is_replaced(model, photo):
    with force_domain(model, "fog"):
        a = given(model, photo, torch.zeros(24))
        b = given(model, photo, torch.ones(24))
    np.testing.assert_array_equal(a, b)


def test_a_learned_table_is_looked_up(photo, clip, tmp_path):
    config, checkpoint = write_small_domino(
        tmp_path, clip, source="learned", domain_table=dict(num_domains=5, channels=24)
    )
    model = init_domino_model(config, str(checkpoint))
    row = torch.eye(5)[ACDC_BANK.index("rain")]
    np.testing.assert_array_equal(
        predict_image(model, photo, "rain").labels, given(model, photo, row)
    )


@pytest.mark.parametrize(("source", "space"), [("image", "joint"), ("null", "context")])
def test_sources_without_named_domains_refuse_to_be_forced(source, space, photo, clip):
    model = init_domino_model(meta_config(clip, source=source, space=space))
    with pytest.raises(ValueError, match=f"source '{source}'"):
        predict_image(model, photo, "fog")


def meta_config(clip, **preprocessor) -> Config:
    """Without a checkpoint, the classes are those of the data set that the config tests."""
    config = small_config(clip, **preprocessor)
    meta = dict(classes=CLASSES, palette=PALETTE)
    leaf = dict(type="BaseSegDataset", metainfo=meta, pipeline=[])
    config.test_dataloader = dict(dataset=dict(type="ConcatDataset", datasets=[leaf]))
    return config


def test_classes_without_a_checkpoint(clip):
    assert init_domino_model(meta_config(clip)).dataset_meta["classes"] == CLASSES
    stock = small_config(clip)
    stock.test_dataloader = dict(dataset=dict(type="ACDCDataset", pipeline=[]))
    assert init_domino_model(stock).dataset_meta["classes"][0] == "road"
    with pytest.raises(ValueError, match="what the classes are"):
        init_domino_model(small_config(clip))


def test_unknown_domains_and_arrays_are_refused(model, photo):
    with pytest.raises(ValueError, match="unknown domain 'hail'; the model's are clear_day, fog"):
        predict_image(model, photo, "hail")
    with pytest.raises(ValueError, match="uint8 RGB"):
        predict_image(model, photo[..., 0])
    with pytest.raises(ValueError, match="float64"):
        predict_image(model, photo / 255)


def test_a_model_without_an_encoder_has_no_domains(clip, photo):
    config = meta_config(clip)
    config.model.data_preprocessor.domain_encoder = None
    model = init_domino_model(config)
    with pytest.raises(ValueError, match="no domain encoder"):
        domains_of(model)


def test_a_config_must_say_how_images_are_prepared(clip):
    config = meta_config(clip)
    config.test_pipeline = [dict(type="PackDominoInputs")]
    with pytest.raises(ValueError, match=r"how an image is prepared.*PackDominoInputs"):
        init_domino_model(config)


def test_images_are_prepared_as_the_test_prepares_them(files, photo, clip):
    """A child config may replace the data sets and leave `test_pipeline` at another size."""
    config = meta_config(clip)
    steps = [dict(step) for step in config.test_pipeline]
    config.test_dataloader.dataset.datasets[0].pipeline = steps
    config.test_pipeline = [
        dict(type="LoadImageFromFile"), dict(type="Resize", scale=(24, 16)),
        dict(type="PackDominoInputs"),
    ]  # fmt: skip
    model = init_domino_model(config, str(files[1]))
    prediction = predict_image(model, photo, "fog")
    text = model.data_preprocessor.encoder.text
    np.testing.assert_array_equal(prediction.labels, given(model, photo, text.context[1].float()))


def test_the_callers_config_stays_as_it_was(clip):
    config = meta_config(clip)
    before = config.to_dict()
    init_domino_model(config)
    assert config.to_dict() == before


def test_a_stock_config_with_the_mix_in_serves_arrays(clip, photo):
    """Stock pipelines, EncodeDomain put in by the mix-in: the domain is found there."""
    config = meta_config(clip)
    config.model.type = "EncoderDecoder"
    config.model.data_preprocessor = dict(type="SegDataPreProcessor", bgr_to_rgb=True)
    config.test_pipeline = [
        dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs"),
    ]  # fmt: skip
    config.pop("test_dataloader")
    config.domino = dict(
        encode="pipeline", encoder=dict(model=clip, bank="acdc"), domain_channels=24,
        space="context", backbone=dict(norms=dict(hidden_channels=8)),
    )  # fmt: skip
    with pytest.raises(ValueError, match="what the classes are"):
        init_domino_model(config)
    meta = dict(classes=CLASSES, palette=PALETTE)
    pipeline = config.test_pipeline
    config.test_dataloader = dict(
        dataset=dict(type="BaseSegDataset", metainfo=meta, pipeline=pipeline)
    )
    prediction = predict_image(init_domino_model(config), photo)
    assert prediction.domain in ACDC_BANK
    assert prediction.labels.shape == photo.shape[:2]


def test_an_own_pixel_data_of_one_channel(model, photo, monkeypatch):
    """Binary models give ``(1, H, W)`` logits; only the labels are read."""
    sample = SegDataSample()
    sample.set_data({"pred_sem_seg": PixelData(data=torch.ones(1, 4, 4, dtype=torch.int64))})
    monkeypatch.setattr("mmseg_domino.apps.inference.inference_model", lambda *_: sample)
    assert predict_image(model, photo).labels.tolist() == np.ones((4, 4)).tolist()
