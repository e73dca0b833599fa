"""The embedding must reach the network in every mode, and each sample must get its own."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import mmseg_domino.models  # noqa: F401  registers the parts
from mmseg_domino.models.segmentors.conditioning import gather_domain

D, N, SIZE = 6, 4, (32, 48)
WINDOW, STRIDE = (24, 24), (16, 16)


def config(cascade=False, mode="whole", neck="DominoNorm", **test_cfg):
    head = dict(
        type="FCNHead", in_channels=8, in_index=0, channels=8, num_convs=1, num_classes=N,
        norm_cfg=dict(type="GN", num_groups=2), dropout_ratio=0,
    )  # fmt: skip
    ocr = dict(
        type="OCRHead", in_channels=8, in_index=0, channels=8, ocr_channels=8, num_classes=N,
        norm_cfg=dict(type="GN", num_groups=2), dropout_ratio=0,
    )  # fmt: skip
    test = dict(mode=mode)
    if mode == "slide":
        test.update(crop_size=WINDOW, stride=STRIDE, **test_cfg)
    model = dict(
        type="DominoCascadeEncoderDecoder" if cascade else "DominoEncoderDecoder",
        data_preprocessor=dict(type="SegDataPreProcessor", size=SIZE),
        backbone=dict(
            type="UNet", base_channels=8, num_stages=2, strides=(1, 1), enc_num_convs=(1, 1),
            dec_num_convs=(1,), downsamples=(True,), enc_dilations=(1, 1), dec_dilations=(1,),
            norm_cfg=dict(type="GN", num_groups=2),
        ),
        decode_head=[head, ocr] if cascade else head,
        train_cfg=dict(),
        test_cfg=test,
    )  # fmt: skip
    model["decode_head"] = [{**head, "in_index": 1}, {**ocr, "in_index": 1}] if cascade else {
        **head, "in_index": 1
    }  # fmt: skip
    if neck:
        model["neck"] = dict(
            type=neck, in_channels=(16, 8), domain_channels=D, num_groups=2, hidden_channels=8
        )
    if cascade:
        model["num_stages"] = 2
    return ConfigDict(model)


def build(**kwargs):
    torch.manual_seed(0)
    model = MODELS.build(config(**kwargs))
    with torch.no_grad():
        for norm in model.neck.norms if model.with_neck else ():
            norm.modulation.out.weight.normal_(std=0.5)
    return model.eval()


def images(batch=2):
    return torch.randn(batch, 3, *SIZE, generator=torch.Generator().manual_seed(3))


def embeddings(batch=2, seed=4):
    return torch.randn(batch, D, generator=torch.Generator().manual_seed(seed))


def samples(domain, batch=2):
    result = []
    for i in range(batch):
        sample = SegDataSample(
            gt_sem_seg=PixelData(data=torch.full((1, *SIZE), i, dtype=torch.long)),
            metainfo=dict(
                img_path=f"image_{i}.png", ori_shape=SIZE, img_shape=SIZE, pad_shape=SIZE,
                padding_size=[0, 0, 0, 0], flip=False,
            ),
        )  # fmt: skip
        if domain is not None:
            sample.domain_embedding = domain[i]
        result.append(sample)
    return result


def run(model, mode, domain, x=None):
    x = images() if x is None else x
    data = samples(domain, len(x))
    with torch.no_grad():
        if mode == "loss":
            model.train()
            losses = model(x, data, mode="loss")
            model.eval()
            return torch.stack([v for k, v in sorted(losses.items()) if "loss" in k])
        if mode == "tensor":
            return model(x, data, mode="tensor")
        return torch.stack([s.seg_logits.data for s in model(x, data, mode="predict")])


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("mode", ["loss", "tensor", "whole", "slide"])
def test_changing_the_embedding_changes_the_output(cascade, mode):
    model = build(cascade=cascade, mode="slide" if mode == "slide" else "whole")
    call = "predict" if mode in ("whole", "slide") else mode
    one, other = run(model, call, embeddings()), run(model, call, embeddings(seed=5))
    torch.testing.assert_close(one, run(model, call, embeddings()), rtol=0, atol=0)
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("mode", ["tensor", "whole", "slide"])
def test_each_sample_of_a_mixed_batch_gets_its_own_embedding(cascade, mode):
    model = build(
        cascade=cascade, mode="slide" if mode == "slide" else "whole",
        **({"windows_per_batch": 3} if mode == "slide" else {}),
    )  # fmt: skip
    call = "tensor" if mode == "tensor" else "predict"
    together = run(model, call, embeddings())
    for i in range(2):
        alone = run(model, call, embeddings()[i : i + 1], images()[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)
    swapped = run(model, call, embeddings().flip(0))
    assert (together - swapped).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_test_time_augmentation_carries_the_embedding():
    model = MODELS.build(dict(type="SegTTAModel", module=config(), data_preprocessor=None)).eval()
    model.module.load_state_dict(build().state_dict())
    x = images()

    def predict(domain):
        augmented = dict(
            inputs=[x, x.flip(3)],
            data_samples=[samples(domain), samples(domain)],
        )
        for sample in augmented["data_samples"][1]:
            sample.set_metainfo(dict(flip=True, flip_direction="horizontal"))
        with torch.no_grad():
            merged = model.test_step(
                dict(inputs=[list(i) for i in augmented["inputs"]],
                     data_samples=augmented["data_samples"])
            )  # fmt: skip
        return torch.stack([s.seg_logits.data for s in merged])

    one, other = predict(embeddings()), predict(embeddings(seed=5))
    assert (one - other).abs().amax(dim=(1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize("windows_per_batch", [1, 2, 100])
@pytest.mark.parametrize("cascade", [False, True])
def test_slide_equals_the_stock_loop(cascade, windows_per_batch):
    model = build(cascade=cascade, mode="slide", windows_per_batch=windows_per_batch)
    data = samples(embeddings())
    metas = [sample.metainfo for sample in data]
    with torch.no_grad(), model._conditioned_on(embeddings()):
        ours = model.slide_inference(images(), copy.deepcopy(metas))
        stock = EncoderDecoder.slide_inference(model, images(), copy.deepcopy(metas))
    torch.testing.assert_close(ours, stock, rtol=0, atol=1e-5)


def test_without_a_taker_it_is_the_stock_segmentor():
    model = build(neck=None)
    stock = MODELS.build({**config(neck=None), "type": "EncoderDecoder"}).eval()
    stock.load_state_dict(model.state_dict())
    for domain in (None, embeddings()):
        torch.testing.assert_close(run(model, "predict", domain), run(stock, "predict", None))


def test_nothing_is_kept_between_calls():
    model = build()
    run(model, "predict", embeddings())
    with pytest.raises(ValueError, match="needs a domain embedding"):
        run(model, "predict", None)


def test_bad_slide_settings_are_explained():
    with pytest.raises(ValueError, match="windows_per_batch must be a positive int, got 0"):
        run(build(mode="slide", windows_per_batch=0), "predict", embeddings())
    with pytest.raises(ValueError, match="latent must be 'window' or 'image', got 'whole'"):
        run(build(mode="slide", latent="whole"), "predict", embeddings())
    with pytest.raises(ValueError, match=r"needs a backbone that encodes .* UNet does not"):
        run(build(mode="slide", latent="image"), "predict", embeddings())


class TestGatherDomain:
    def test_no_samples_or_no_embeddings_give_none(self):
        assert gather_domain(None, images()) is None
        assert gather_domain(samples(None), images()) is None

    def test_a_missing_one_is_named(self):
        data = samples(embeddings())
        del data[1].domain_embedding
        with pytest.raises(ValueError, match=r"1 of the 2 samples .* image_1\.png"):
            gather_domain(data, images())

    def test_widths_must_agree(self):
        data = samples(embeddings())
        data[1].domain_embedding = torch.zeros(D + 1)
        with pytest.raises(ValueError, match=r"one width, got the shapes \[\(6,\), \(7,\)\]"):
            gather_domain(data, images())

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_values_must_be_finite(self, value):
        data = samples(embeddings())
        data[1].domain_embedding[2] = value
        with pytest.raises(ValueError, match=r"of 1 samples hold NaN or infinite .* image_1\.png"):
            gather_domain(data, images())
