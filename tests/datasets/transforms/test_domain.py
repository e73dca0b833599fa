import pickle
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import Compose, worker_init_fn
from mmseg.registry import TRANSFORMS
from torch.nn import functional as F

from mmseg_domino.datasets.mixture import SampleIndex
from mmseg_domino.datasets.transforms import EncodeDomain, LoadDomainEmbedding, SeedSample
from mmseg_domino.domain import DomainEncoder, write_store

from ...tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    return str(write_tiny_clip(tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="module")
def world(tiny_clip, tmp_path_factory):
    """Three images below a data root, and their store."""
    root = tmp_path_factory.mktemp("data")
    encoder, keys, rows = DomainEncoder(tiny_clip), [], []
    for i, condition in enumerate(["fog", "night", "rain"]):
        path = root / "img" / condition / "a.png"
        path.parent.mkdir(parents=True)
        coarse = np.random.default_rng(i).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (90, 60), interpolation=cv2.INTER_CUBIC))
        keys.append(f"img/{condition}/a.png")
        rows.append(encoder.encode_pixels(encoder.prepare(cv2.imread(str(path))[:, :, ::-1])[None]))
    write_store(root / "s.safetensors", keys, torch.cat(rows), encoder.text, encoder.provenance())
    return root, encoder, torch.cat(rows)


def _sample(root, condition="fog", **more):
    return {"img_path": str(root / "img" / condition / "a.png"), **more}


def test_loads_embedding_scores_and_names(world):
    root, encoder, rows = world
    result = LoadDomainEmbedding(str(root / "s.safetensors"))(_sample(root, "night"))
    expected = torch.softmax(encoder.text.logit_scale * rows[1] @ encoder.text.joint.T, dim=0)
    np.testing.assert_allclose(result["domain_scores"], expected, atol=1e-6)
    np.testing.assert_allclose(
        result["domain_embedding"], expected @ encoder.text.context, atol=1e-5
    )
    assert result["domain_embedding"].dtype == result["domain_scores"].dtype == np.float32
    assert result["domain_names"] == ("clear_day", "fog", "night", "rain", "snow")


@pytest.mark.parametrize(
    ("source", "space"),
    [("soft", "context"), ("soft", "joint"), ("argmax", "context"), ("image", "joint")],
)
def test_encoding_on_the_fly_equals_the_store(world, tiny_clip, source, space):
    root, _, _ = world
    load = LoadDomainEmbedding(str(root / "s.safetensors"), source=source, space=space)
    encode = Compose(
        [LoadImageFromFile(), EncodeDomain({"model": tiny_clip}, source=source, space=space)]
    )
    for condition in ("fog", "night", "rain"):
        stored, fresh = load(_sample(root, condition)), encode(_sample(root, condition))
        for key in ("domain_embedding", "domain_scores"):
            np.testing.assert_allclose(fresh[key], stored[key], rtol=0, atol=1e-5)
        assert fresh["domain_names"] == stored["domain_names"]


def test_rgb_and_bgr_are_told_apart(world, tiny_clip):
    root, _, rows = world
    bgr = LoadImageFromFile()(_sample(root))
    rgb = dict(bgr, img=bgr["img"][:, :, ::-1].copy())
    options = dict(encoder={"model": tiny_clip}, source="image", space="joint")
    right = EncodeDomain(**options, color_type="rgb")(rgb)["domain_embedding"]
    wrong = EncodeDomain(**options)(rgb)["domain_embedding"]
    np.testing.assert_allclose(right, rows[0], atol=1e-5)
    assert np.abs(wrong - right).max() > 1e-3


def test_built_from_a_config_and_sent_to_workers(world, tiny_clip):
    root, _, _ = world
    for config in (
        dict(type="LoadDomainEmbedding", store=str(root / "s.safetensors")),
        dict(type="EncodeDomain", encoder=dict(model=tiny_clip)),
    ):
        transform = TRANSFORMS.build(config)
        sample = LoadImageFromFile()(_sample(root))
        expected = transform(dict(sample))["domain_embedding"]
        again = pickle.loads(pickle.dumps(transform))(dict(sample))["domain_embedding"]
        np.testing.assert_array_equal(again, expected)
        assert "soft" in repr(transform)


@pytest.mark.parametrize("change", ["Resize", "RandomFlip", "float"])
def test_encoding_refuses_a_changed_image(world, tiny_clip, change):
    root, _, _ = world
    sample = LoadImageFromFile(to_float32=change == "float")(_sample(root))
    if change == "Resize":
        sample = TRANSFORMS.build(dict(type="mmseg.Resize", scale=(45, 30)))(sample)
    elif change == "RandomFlip":
        sample = TRANSFORMS.build(dict(type="mmseg.RandomFlip", prob=1.0))(sample)
    with pytest.raises(ValueError, match="right after LoadImageFromFile"):
        EncodeDomain({"model": tiny_clip})(sample)


def test_oracle_reads_the_condition_of_the_sample(world):
    root, encoder, _ = world
    oracle = LoadDomainEmbedding(str(root / "s.safetensors"), source="oracle")
    result = oracle(_sample(root, "fog", domain="snow"))
    np.testing.assert_array_equal(result["domain_embedding"], encoder.text.context[4])
    with pytest.raises(ValueError, match="true condition"):
        oracle(_sample(root, "fog"))


def test_prototypes_of_another_store(world):
    root, _, rows = world
    store = str(root / "s.safetensors")
    result = LoadDomainEmbedding(store, source="prototype", space="joint", prototypes=store)(
        _sample(root)
    )
    np.testing.assert_allclose(
        result["domain_embedding"], F.normalize(rows.mean(0), dim=0), atol=1e-6
    )


def test_disturbance_follows_the_workers_seed(world):
    root, _, _ = world
    disturb = LoadDomainEmbedding(str(root / "s.safetensors"), noise=0.1, mix=0.3, drop=0.2)
    plain = LoadDomainEmbedding(str(root / "s.safetensors"))(_sample(root))["domain_embedding"]

    def epoch(worker):
        worker_init_fn(worker, num_workers=2, rank=0, seed=3)
        return np.stack([disturb(_sample(root))["domain_embedding"] for _ in range(20)])

    first, again, other = epoch(0), epoch(0), epoch(1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    dropped = (first == 0).all(axis=1)
    assert 0 < dropped.sum() < 20
    assert not np.isclose(first[~dropped], plain).all(axis=1).any()


def test_disturbance_takes_nothing_from_the_other_draws(world):
    """With seeded samples, crops are the same with noise and without."""
    root, _, _ = world
    store = str(root / "s.safetensors")

    def one(draw, **options):
        sample = _sample(root, sample_idx=SampleIndex(0, draw, 5))
        made = LoadDomainEmbedding(store, **options)(SeedSample()(sample))
        return made["domain_embedding"], np.random.random()

    (plain, after), (noisy, same) = one(3), one(3, noise=0.2)
    assert after == same
    assert not np.allclose(plain, noisy)
    np.testing.assert_array_equal(noisy, one(3, noise=0.2)[0])
    assert not np.allclose(noisy, one(4, noise=0.2)[0])


def test_a_domain_that_all_images_are_taken_for(world):
    root, encoder, _ = world
    forced = LoadDomainEmbedding(str(root / "s.safetensors"), source="argmax", force="snow")
    for name in ("fog", "night"):
        made = forced(_sample(root, name))
        np.testing.assert_array_equal(made["domain_embedding"], encoder.text.context[4])
    with pytest.raises(ValueError, match=r"force='hail' is no domain of the prompt bank"):
        LoadDomainEmbedding(str(root / "s.safetensors"), force="hail")(_sample(root))


def test_image_that_is_not_in_the_store(world, tmp_path):
    root, _, _ = world
    (tmp_path / "new.png").touch()
    sample = {"img_path": str(tmp_path / "new.png")}
    store = str(root / "s.safetensors")
    with pytest.raises(KeyError, match=r"lacks 1 of the images.*new\.png"):
        LoadDomainEmbedding(store)(dict(sample))
    assert LoadDomainEmbedding(store, missing="leave")(dict(sample)) == sample
    absent = str(store) + ".absent"
    assert LoadDomainEmbedding(absent, missing="leave")(dict(sample)) == sample
    with pytest.raises(FileNotFoundError, match="there is no embedding store"):
        LoadDomainEmbedding(absent)(dict(sample))
    with pytest.raises(KeyError, match="none"):
        LoadDomainEmbedding(store)({"img": np.zeros((4, 4, 3), np.uint8)})


def test_store_of_another_model_or_bank_is_refused(world, tiny_clip, tmp_path):
    root, _, _ = world
    store = str(root / "s.safetensors")
    made_by = dict(model=tiny_clip, bank="acdc")
    with pytest.raises(ValueError, match="asked for 'ViT-L-14'"):
        LoadDomainEmbedding(store, encoder=dict(bank="acdc"))
    with pytest.raises(ValueError, match=r"made by another encoder .* bank_sha256"):
        LoadDomainEmbedding(store, encoder=dict(made_by, bank="weather"))
    LoadDomainEmbedding(store, encoder=made_by)(_sample(root))
    # The same weights elsewhere are the same encoder; others in the same place are not.
    moved = shutil.copytree(tiny_clip, tmp_path / "moved")
    LoadDomainEmbedding(store, encoder=dict(made_by, model=str(moved)))(_sample(root))
    write_tiny_clip(moved, seed=1)
    with pytest.raises(ValueError, match="weights_sha256"):
        LoadDomainEmbedding(store, encoder=dict(made_by, model=str(moved)))


@pytest.mark.parametrize(
    "arguments",
    [dict(noise=-1), dict(mix=2), dict(drop=1.5), dict(missing="skip"), dict(source="mean")],
)
def test_arguments_out_of_range(arguments):
    with pytest.raises(ValueError, match=r"got|sources are"):
        LoadDomainEmbedding("s.safetensors", **arguments)


def test_unknown_channel_order():
    with pytest.raises(ValueError, match="bgr"):
        EncodeDomain(color_type="gray")
