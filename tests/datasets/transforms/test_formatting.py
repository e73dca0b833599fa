import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmseg.datasets.transforms import PackSegInputs
from mmseg.models import SegDataPreProcessor

from mmseg_domino.datasets import PackDominoInputs


def sample(**extra):
    rng = np.random.default_rng(0)
    return {
        "img": rng.integers(0, 256, (8, 12, 3), dtype=np.uint8),
        "gt_seg_map": rng.integers(0, 19, (8, 12), dtype=np.uint8),
        "seg_fields": ["gt_seg_map"],
        "img_path": "a.png",
        "img_shape": (8, 12),
        "ori_shape": (8, 12),
        "dataset": "acdc",
        "domain": "fog",
        "domain_names": ("fog", "night"),
        "domain_embedding": np.arange(5, dtype=np.float32),
        "domain_scores": np.array([0.75, 0.25], dtype=np.float32),
        **extra,
    }


def test_packs_the_domain_beside_what_stock_packs():
    ours = PackDominoInputs()(sample())["data_samples"]
    stock = PackSegInputs()(sample())["data_samples"]
    for key, value in stock.metainfo.items():
        assert ours.metainfo[key] == value
    assert torch.equal(ours.gt_sem_seg.data, stock.gt_sem_seg.data)
    assert (ours.dataset, ours.domain, ours.domain_names) == ("acdc", "fog", ("fog", "night"))
    assert torch.equal(ours.domain_embedding, torch.arange(5.0))
    assert torch.equal(ours.domain_scores, torch.tensor([0.75, 0.25]))


def test_own_meta_keys_never_lose_the_domain():
    packed = PackDominoInputs(meta_keys=("ori_shape",))(sample())["data_samples"]
    assert set(packed.metainfo) == {"ori_shape", "img_path", "dataset", "domain", "domain_names"}


def test_a_sample_without_domain_packs_as_in_stock():
    plain = {k: v for k, v in sample().items() if "domain" not in k and k != "dataset"}
    ours = PackDominoInputs()(dict(plain))["data_samples"]
    stock = PackSegInputs()(dict(plain))["data_samples"]
    assert ours.metainfo == stock.metainfo
    assert set(ours.keys()) == set(stock.keys())


def test_the_packed_embedding_does_not_share_the_pipelines_memory():
    source = sample()
    packed = PackDominoInputs()(source)["data_samples"]
    source["domain_embedding"][:] = -1
    assert torch.equal(packed.domain_embedding, torch.arange(5.0))


@pytest.mark.parametrize("value", [np.zeros((1, 5), np.float32), np.arange(5)])
def test_refuses_what_is_no_vector_of_floats(value):
    with pytest.raises(ValueError, match=r"domain_embedding of a.png must be a vector of floats"):
        PackDominoInputs()(sample(domain_embedding=value))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("key", ["domain_embedding", "domain_scores"])
def test_refuses_values_that_are_not_finite(key, value):
    with pytest.raises(ValueError, match=rf"{key} of a.png holds NaN or infinite values"):
        PackDominoInputs()(sample(**{key: np.array([0.5, value], np.float32)}))


@pytest.mark.parametrize("training", [True, False])
def test_passes_the_stock_preprocessor(training):
    batch = pseudo_collate([PackDominoInputs()(sample()) for _ in range(2)])
    out = SegDataPreProcessor(size=(8, 12))(batch, training=training)
    for data_sample in out["data_samples"]:
        assert torch.equal(data_sample.domain_embedding, torch.arange(5.0))
        assert data_sample.domain == "fog"
    # Tensors of a data sample follow it to a device; `meta` stands in for a GPU.
    assert out["data_samples"][0].to("meta").domain_embedding.device.type == "meta"


def test_every_view_of_test_time_augmentation_carries_the_domain():
    views = Compose(
        [
            dict(
                type="TestTimeAug",
                transforms=[
                    [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)],
                    [dict(type="PackDominoInputs")],
                ],
            )
        ]
    )(sample())
    assert len(views["data_samples"]) == 2
    assert [s.flip for s in views["data_samples"]] == [False, True]
    for view in views["data_samples"]:
        assert torch.equal(view.domain_embedding, torch.arange(5.0))
        assert (view.dataset, view.domain) == ("acdc", "fog")
