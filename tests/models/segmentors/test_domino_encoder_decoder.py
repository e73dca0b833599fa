"""The embedding must reach the network in every mode, and each sample must get its own."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

import mmseg_domino.models  # noqa: F401  registers the parts
from mmseg_domino.models.conditioning import gather_domain

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
        if model.with_neck:
            model.neck.domain.modulation.out.weight.normal_(std=0.5)
    return model.eval()


def images(batch=2):
    return torch.randn(batch, 3, *SIZE, generator=torch.Generator().manual_seed(3))


def embeddings(batch=2, seed=4):
    return torch.randn(batch, D, generator=torch.Generator().manual_seed(seed))


def samples(domain, batch=2):
    result, where = [], None if domain is None else domain.device
    for i in range(batch):
        sample = SegDataSample(
            gt_sem_seg=PixelData(data=torch.full((1, *SIZE), i, dtype=torch.long, device=where)),
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
    device = next(model.parameters()).device
    x = (images() if x is None else x).to(device)
    data = samples(None if domain is None else domain.to(device), len(x))
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
def test_changing_the_embedding_changes_the_output(cascade, mode, device):
    model = build(cascade=cascade, mode="slide" if mode == "slide" else "whole").to(device)
    call = "predict" if mode in ("whole", "slide") else mode
    one, other = (
        run(model, call, embeddings().to(device)),
        run(model, call, embeddings(seed=5).to(device)),
    )
    torch.testing.assert_close(one, run(model, call, embeddings().to(device)), rtol=0, atol=0)
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("mode", ["tensor", "whole", "slide"])
def test_each_sample_of_a_mixed_batch_gets_its_own_embedding(cascade, mode, device):
    model = build(
        cascade=cascade, mode="slide" if mode == "slide" else "whole",
        **({"windows_per_batch": 3} if mode == "slide" else {}),
    ).to(device)  # fmt: skip
    call = "tensor" if mode == "tensor" else "predict"
    together = run(model, call, embeddings().to(device))
    for i in range(2):
        alone = run(model, call, embeddings().to(device)[i : i + 1], images().to(device)[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)
    swapped = run(model, call, embeddings().to(device).flip(0))
    assert (together - swapped).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_test_time_augmentation_carries_the_embedding(device):
    model = (
        MODELS.build(dict(type="SegTTAModel", module=config(), data_preprocessor=None))
        .to(device)
        .eval()
    )
    model.module.load_state_dict(build().to(device).state_dict())
    x = images().to(device)

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
def test_slide_equals_the_stock_loop(cascade, windows_per_batch, device):
    model = build(cascade=cascade, mode="slide", windows_per_batch=windows_per_batch).to(device)
    data = samples(embeddings().to(device))
    metas = [sample.metainfo for sample in data]
    with torch.no_grad(), model._conditioned_on(embeddings().to(device)):
        ours = model.slide_inference(images().to(device), copy.deepcopy(metas))
        stock = EncoderDecoder.slide_inference(model, images().to(device), copy.deepcopy(metas))
    torch.testing.assert_close(ours, stock, rtol=0, atol=1e-5)


class PatchBackbone(nn.Module):
    """Encodes each patch of 8 x 8 pixels by itself, then mixes neighbours under the domain."""

    accepts_domain = accepts_windows = True
    latent_stride = 8

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.mix = nn.Conv2d(8, 8, 3, padding=1)
        self.calls = []  # batch, rows of the domain, windows

    def encode(self, x):
        assert not any(length % 8 for length in x.shape[2:])
        return self.patches(x)

    def forward_latent(self, latent, domain, image_hw, windows=1):
        self.calls.append((len(latent), len(domain), windows, tuple(image_hw)))
        shift = domain.repeat(windows, 1).mean(dim=1)[:, None, None, None]
        return (torch.tanh(self.mix(latent) + shift),)

    def forward(self, x, domain, windows=1):
        x = torch.nn.functional.pad(
            x, (0, -x.shape[3] % 8, 0, -x.shape[2] % 8), mode="replicate"
        )  # fmt: skip
        return self.forward_latent(self.encode(x), domain, x.shape[2:], windows)


def build_latent(cascade=False, **test_cfg):
    """A model over `PatchBackbone`, with the neck of the domain."""
    torch.manual_seed(0)
    cfg = config(cascade=cascade, mode="slide")
    for head in cfg.decode_head if cascade else [cfg.decode_head]:
        head.in_index = 0
    cfg.neck.update(in_channels=(8,))
    MODELS.register_module(name="PatchBackbone", module=PatchBackbone, force=True)
    cfg.backbone = dict(type="PatchBackbone")
    cfg.test_cfg.update(test_cfg)
    model = MODELS.build(cfg)
    with torch.no_grad():
        model.neck.domain.modulation.out.weight.normal_(std=0.5)
        for head in model.decode_head if cascade else [model.decode_head]:
            head.conv_seg.weight.normal_()
    return model.eval()


@pytest.fixture(autouse=True)
def _no_test_backbone_left():
    yield
    MODELS.module_dict.pop("PatchBackbone", None)


@pytest.mark.parametrize("windows_per_batch", [1, 3, 100])
@pytest.mark.parametrize("cascade", [False, True])
def test_one_latent_for_all_windows(cascade, windows_per_batch, device):
    """The encoder sees no further than a patch here, so the latent of an image is the windows'."""
    options = dict(stride=(16, 8), windows_per_batch=windows_per_batch)
    once = build_latent(cascade, latent="image", **options).to(device)
    each = build_latent(cascade, latent="window", **options).to(device)
    torch.testing.assert_close(
        run(once, "predict", embeddings().to(device)),
        run(each, "predict", embeddings().to(device)),
        rtol=0,
        atol=1e-5,
    )
    batches = [call[0] for call in once.backbone.calls]
    assert batches == [call[0] for call in each.backbone.calls]
    assert max(batches) <= 2 * windows_per_batch
    # What depends on the domain alone is computed for two images, however many windows there are.
    assert all(call[1] == 2 and call[0] == 2 * call[2] for call in once.backbone.calls)


@pytest.mark.parametrize("size", [(32, 48), (37, 50), (41, 24), (20, 61)])
def test_one_latent_of_sides_that_are_no_multiples(size, device):
    model = build_latent(
        latent="image", crop_size=(24, 20), stride=(13, 16), windows_per_batch=2
    ).to(device)
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(3)).to(device)
    metas = [dict(img_shape=size) for _ in range(2)]
    with torch.no_grad(), model._conditioned_on(embeddings().to(device)):
        result = model.slide_inference(x, metas)
    assert result.shape == (2, N, *size)
    assert result.isfinite().all()
    expected = by_hand(model, x, (24, 24), (8, 16))
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def by_hand(model, x, crop, stride):
    """The mean over windows of a padded image, one window of one image at a time."""
    height, width = x.shape[2:]
    padded = torch.nn.functional.pad(x, (0, -width % 8, 0, -height % 8), mode="replicate")
    full = padded.shape[2:]
    crop = [min(c, f) for c, f in zip(crop, full, strict=True)]
    total, count = x.new_zeros(len(x), N, *full), x.new_zeros(1, 1, *full)
    rows, columns = (
        sorted({min(s, f - c) for s in range(0, f, step)})
        for f, c, step in zip(full, crop, stride, strict=True)
    )
    for i, domain in enumerate(embeddings().to(x.device)):
        for y in rows:
            for column in columns:
                box = (..., slice(y, y + crop[0]), slice(column, column + crop[1]))
                with model._conditioned_on(domain[None]):
                    logits = model.encode_decode(
                        padded[i : i + 1][box], [dict(img_shape=torch.Size(crop))]
                    )
                total[i : i + 1][box] += logits
                count[box] += i == 0
    return (total / count)[..., :height, :width]


@pytest.mark.parametrize("latent", ["window", "image"])
def test_test_time_augmentation_with_batched_windows(latent, device):
    """Flipped and at one and a half times the size: the mean of what each gives alone."""
    model = build_latent(latent=latent, windows_per_batch=4).to(device)
    wrapped = (
        MODELS.build(dict(type="SegTTAModel", module=model, data_preprocessor=None))
        .to(device)
        .eval()
    )
    large = torch.nn.functional.interpolate(images(1).to(device), size=(48, 72), mode="bilinear")
    views = [images(1).to(device), large.flip(3)]
    data = [samples(embeddings(1).to(device), 1), samples(embeddings(1).to(device), 1)]
    data[1][0].set_metainfo(dict(flip=True, flip_direction="horizontal", img_shape=(48, 72)))
    single = copy.deepcopy(data)
    with torch.no_grad():
        merged = wrapped.test_step(dict(inputs=[list(v) for v in views], data_samples=data))[0]
        alone = [model.predict(v, s)[0].seg_logits.data for v, s in zip(views, single, strict=True)]
    expected = torch.stack([logits.softmax(dim=0) for logits in alone]).mean(dim=0).argmax(dim=0)
    assert expected.unique().numel() > 1
    assert torch.equal(merged.pred_sem_seg.data.squeeze(), expected)


def test_without_a_taker_it_is_the_stock_segmentor():
    model = build(neck=None)
    stock = MODELS.build({**config(neck=None), "type": "EncoderDecoder"}).eval()
    stock.load_state_dict(model.state_dict())
    for domain in (None, embeddings()):
        torch.testing.assert_close(run(model, "predict", domain), run(stock, "predict", None))


def test_nothing_is_kept_between_calls(device):
    model = build().to(device)
    run(model, "predict", embeddings().to(device))
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

    def test_samples_may_carry_two_spaces_and_scores(self):
        data = samples(None)
        for i, sample in enumerate(data):
            sample.domain_joint, sample.domain_context = torch.full((3,), i), torch.full((5,), i)
            sample.domain_scores = torch.full((4,), i)
        found = gather_domain(data, images())
        assert {k: tuple(v.shape) for k, v in found.items()} == {
            "joint": (2, 3), "context": (2, 5), "scores": (2, 4),
        }  # fmt: skip
        assert all(torch.equal(v[1], torch.ones_like(v[1])) for v in found.values())

    def test_one_space_is_known_by_its_name(self):
        data = samples(embeddings())
        data[0].set_metainfo(dict(domain_space="joint"))
        with pytest.raises(ValueError, match="lie in different spaces"):
            gather_domain(data, images())
        data[1].set_metainfo(dict(domain_space="joint"))
        assert list(gather_domain(data, images())) == ["joint"]


def test_linked_queries_pass_the_neck_by():
    """Rein's queries are no level: the neck gets the features, the head both."""
    from mmseg_domino.models.segmentors import DominoEncoderDecoder

    pyramid = dict(type="TimmViT", model="vit_large_patch14_dinov2", weights=None,
                   options=dict(img_size=56, embed_dim=16, depth=4, num_heads=2))  # fmt: skip
    adapter = dict(token_length=5, rank=2, link_token_to_query=True, query_dims=6)
    model = DominoEncoderDecoder(
        backbone=dict(type="DominoBackbone", backbone=pyramid, domain_channels=3, tune="rein",
                      adapter=adapter, injection="none"),
        neck=dict(type="MultiLevelNeck", in_channels=[16] * 4, out_channels=8,
                  scales=[2, 1, 1, 0.5]),
        decode_head=dict(type="FCNHead", in_channels=8, in_index=0, channels=4, num_classes=3),
    )  # fmt: skip
    features = model.extract_feat(torch.randn(1, 3, 56, 56))
    assert [tuple(f.shape) for f in features[:2]] == [(1, 8, 8, 8), (1, 8, 4, 4)]
    assert len(features) == 5
    assert features[-1].shape == (5, 6)
