"""The gate's segmentation model, from a checkpoint on disk, against the model itself."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import save_checkpoint
from mmseg.registry import MODELS

import mmseg_domino.datasets  # noqa: F401  registers MMSegmentation's data sets, too
from mmseg_domino.apps.synthesis import checkpoint_name, load_segmentor
from tests.synthesis.scenes import scene

CLASSES = 19


def normalised(image):
    mean, std = torch.tensor([[10.0, 120.0, 230.0], [60.0, 50.0, 70.0]])[..., None, None]
    return ((torch.as_tensor(image).permute(2, 0, 1).float() - mean) / std)[None]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Config and checkpoint of a small FCN with random weights."""
    folder = tmp_path_factory.mktemp("segmentor")
    norm = dict(type="BN", requires_grad=True)
    cfg = Config(
        dict(
            default_scope="mmseg",
            model=dict(
                type="EncoderDecoder",
                data_preprocessor=dict(
                    type="SegDataPreProcessor",
                    # Unlike for each channel: swapped channels would be seen.
                    mean=[10.0, 120.0, 230.0],
                    std=[60.0, 50.0, 70.0],
                    bgr_to_rgb=True,
                    size_divisor=32,
                    test_cfg=dict(size_divisor=32),
                ),
                backbone=dict(type="ResNetV1c", depth=18, base_channels=8, norm_cfg=norm),
                decode_head=dict(
                    type="FCNHead", in_channels=8, in_index=0, channels=8, num_convs=1,
                    num_classes=CLASSES, norm_cfg=norm,
                ),
                test_cfg=dict(mode="whole"),
            ),
            test_pipeline=[dict(type="LoadImageFromFile"), dict(type="PackSegInputs")],
        )
    )  # fmt: skip
    cfg.dump(folder / "fcn.py")
    init_default_scope("mmseg")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model).eval()
        torch.nn.init.normal_(model.decode_head.conv_seg.weight)
        with torch.no_grad():  # no class may win everywhere
            logits = model.decode_head(model.extract_feat(normalised(scene(0)[0])))
            model.decode_head.conv_seg.bias -= logits.mean((0, 2, 3))
    meta = dict(dataset_meta=dict(classes=("a",) * CLASSES, palette=[[0, 0, 0]] * CLASSES))
    save_checkpoint(dict(state_dict=model.state_dict(), meta=meta), str(folder / "fcn.pth"))
    return folder, model


def test_it_predicts_what_the_checkpoints_model_predicts(files):
    folder, model = files
    image, _ = scene(0)
    with torch.inference_mode():
        logits = model.decode_head(model.extract_feat(normalised(image)))
        logits = torch.nn.functional.interpolate(logits, size=image.shape[:2], mode="bilinear")
    expected = logits[0].argmax(0).numpy()
    got = load_segmentor(str(folder / "fcn.py"), str(folder / "fcn.pth"), CLASSES)(image)
    assert got.shape == image.shape[:2]
    assert len(np.unique(got)) > 1
    assert (got == expected).mean() > 0.999


def test_a_checkpoint_is_named_by_its_content(tmp_path):
    (tmp_path / "iter_1.pth").write_bytes(b"abc")
    # SHA-256 of "abc": FIPS 180-2, appendix B.1.
    assert checkpoint_name(tmp_path / "iter_1.pth") == "iter_1.pth sha256:ba7816bf8f01cfea"


def test_what_cannot_judge_is_refused(files):
    folder, _ = files
    config = str(folder / "fcn.py")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint nowhere\.pth"):
        load_segmentor(config, "nowhere.pth", CLASSES)
    with pytest.raises(ValueError, match="has 19 classes, the labels 11"):
        load_segmentor(config, str(folder / "fcn.pth"), 11)
