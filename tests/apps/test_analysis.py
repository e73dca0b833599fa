import json
import re

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchmetrics.functional import accuracy
from torchmetrics.functional.classification import multiclass_confusion_matrix

from mmseg_domino.apps.analysis import (
    DomainAnalysis,
    analyse_store,
    project,
    spread_out,
    true_conditions,
)
from mmseg_domino.apps.analysis_figures import Thumbnails
from mmseg_domino.apps.analysis_page import write_analysis
from mmseg_domino.domain import DomainText, EmbeddingStore, write_store

DOMAINS = ("day", "fog", "night")


def _analysis(count=60, unknown=0):
    generator = torch.Generator().manual_seed(0)
    scores = (3 * torch.randn(count, 3, generator=generator)).softmax(1)
    true = torch.randint(0, 3, (count,), generator=generator)
    conditions = [DOMAINS[i] for i in true]
    conditions[:unknown] = [None] * unknown
    keys = tuple(f"{i:03d}.png" for i in range(count))
    return DomainAnalysis(keys, DOMAINS, scores, tuple(conditions)), true


def test_confusion_and_accuracy_equal_torchmetrics():
    analysis, true = _analysis()
    expected = multiclass_confusion_matrix(analysis.predicted, true, 3)
    assert torch.equal(analysis.confusion(), expected)
    arguments = {"task": "multiclass", "num_classes": 3}
    each = 100 * accuracy(analysis.predicted, true, average="none", **arguments)
    result = analysis.accuracy()
    assert [result[d] for d in DOMAINS] == pytest.approx(each.tolist())
    assert result["mean"] == pytest.approx(float(each.mean()))
    whole = 100 * accuracy(analysis.predicted, true, average="micro", **arguments)
    assert result["all"] == pytest.approx(float(whole))


def test_images_of_unknown_condition_count_nowhere():
    analysis, true = _analysis(unknown=20)
    expected = multiclass_confusion_matrix(analysis.predicted[20:], true[20:], 3)
    assert torch.equal(analysis.confusion(), expected)
    assert analysis.summary()["images_without_condition"] == 20


def test_a_condition_need_not_be_a_domain():
    analysis, _ = _analysis(6)
    conditions = ("dusk", "dusk", "fog", "fog", "fog", None)
    analysis = DomainAnalysis(analysis.keys, DOMAINS, torch.eye(3).repeat(2, 1), conditions)
    assert analysis.known == ("fog", "dusk")
    assert analysis.confusion().tolist() == [[1, 1, 1], [1, 1, 0]]
    assert analysis.accuracy() == pytest.approx({"fog": 100 / 3, "mean": 100 / 3, "all": 100 / 3})


def test_nothing_is_known():
    analysis, _ = _analysis(5, unknown=5)
    assert analysis.known == ()
    assert analysis.confusion().shape == (0, 3)
    assert analysis.accuracy() == {}
    assert list(analysis.mean_scores()) == ["all"]


def test_certainty_is_one_for_one_hot_and_zero_for_uniform():
    scores = torch.tensor([[1.0, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0]])
    analysis = DomainAnalysis(("a", "b", "c"), DOMAINS, scores, (None,) * 3)
    expected = [1.0, 0.0, 1 - np.log(2) / np.log(3)]
    assert analysis.certainty().tolist() == pytest.approx(expected, abs=1e-6)


def test_conditions_from_paths():
    keys = ["rgb/fog/val/a.png", "rgb/fog_ref/b.png", "left/val/c.png", "fog.png", "left/fog/d.png"]
    assert true_conditions(keys, DOMAINS) == ["fog", None, None, None, "fog"]
    named = {"left": "day", "fog_ref": "dusk"}
    assert true_conditions(keys, DOMAINS, named) == ["fog", "dusk", "day", None, "day"]
    reference = ["rgb_anon/fog/val_ref/GOPR0475/a.png"]
    assert true_conditions(reference, DOMAINS) == [None]
    assert true_conditions(reference, DOMAINS, {"val_ref": "day"}) == ["day"]
    with pytest.raises(ValueError, match="several conditions"):
        true_conditions(["fog/night/a.png"], DOMAINS)


def test_pca_equals_the_singular_value_decomposition():
    image = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    positions, method = project(image, "pca")
    assert method == "pca"
    left, scale, _ = np.linalg.svd((image - image.mean(0)).double().numpy(), full_matrices=False)
    for axis in range(2):
        expected = left[:, axis] * scale[axis]
        expected *= np.sign(np.corrcoef(expected, positions[:, axis])[0, 1])
        expected = (expected - expected.min()) / np.ptp(expected)
        np.testing.assert_allclose(positions[:, axis], expected, atol=1e-5)


def test_projection_of_few_or_equal_images():
    for count in (1, 2, 3):
        positions, method = project(torch.ones(count, 4))
        assert method == "pca"
        assert torch.equal(positions, torch.zeros(count, 2))
    with pytest.raises(ValueError, match="'auto', 'umap' or 'pca'"):
        project(torch.ones(2, 4), "tsne")


def test_umap_is_used_where_it_is_installed():
    image = F.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    try:
        import umap  # noqa: F401
    except ImportError:
        assert project(image)[1] == "pca"
        with pytest.raises(ImportError, match="umap-learn"):
            project(image, "umap")
    else:
        assert project(image)[1] == "umap"


def test_spread_out_takes_far_ones_first():
    grid = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0))
    corners = {tuple(grid[i].tolist()) for i in spread_out(grid, 4)}
    assert corners == {(0, 0), (0, 4), (4, 0), (4, 4)}
    assert sorted(spread_out(grid, 100)) == list(range(25))
    assert spread_out(torch.zeros(5, 2), 3) == [0]
    assert spread_out(torch.zeros(0, 2), 3) == []


@pytest.fixture
def store(tmp_path):
    rng, keys = np.random.default_rng(0), []
    for i in range(30):
        key = f"{DOMAINS[i % 3]}/{i:02d}.png"
        path = tmp_path / "data" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        keys.append(key)
    image = F.normalize(torch.randn(30, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    joint = F.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    text = DomainText(DOMAINS, joint, torch.ones(3, 4), 10.0)
    provenance = {"model": "<tiny & random>", "bank": "acdc", "versions": {"torch": "2"}}
    write_store(tmp_path / "s.safetensors", keys, image, text, provenance)
    return EmbeddingStore.open(tmp_path / "s.safetensors")


def _write(store, folder, root, **options):
    analysis = analyse_store(store)
    positions, method = project(store.images(), "pca")
    page = write_analysis(
        analysis, positions, method, Thumbnails([root]), folder, "T", store.provenance, **options
    )
    return analysis, page.read_text()


def test_page_holds_everything_and_asks_for_nothing(store, tmp_path):
    analysis, page = _write(store, tmp_path / "out", tmp_path / "data")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "index.html", "analysis.json", "confusion.png", "scores.png", "map.png",
    }  # fmt: skip
    assert not re.search(r"""(src|href)=["'](?!data:|#)|url\(|@import|fetch\(|https?:""", page)
    assert "default-src 'none'" in page
    assert page.count("<circle") == 30
    assert "&lt;tiny &amp; random&gt;" in page
    assert all(key in page for key in analysis.keys)
    numbers = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert numbers["confusion"] == analysis.confusion().tolist()
    assert f'<p class="big">{numbers["accuracy_percent"]["all"]:.1f}<small>' in page
    for name in ("confusion", "scores", "map"):
        picture = cv2.imread(str(tmp_path / "out" / f"{name}.png"))
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 5  # something is drawn


def test_page_limits_its_points_and_pictures(store, tmp_path):
    _, page = _write(store, tmp_path / "out", tmp_path / "data", points=9, pictures=4, extremes=2)
    assert page.count("<circle") == 9
    assert page.count('<figure class="picture">') == 4
    assert len(re.findall(r"<circle[^>]* data-picture=", page)) == 4


def test_page_without_pictures_or_conditions(store, tmp_path):
    flat = tmp_path / "flat.safetensors"
    keys = [key.replace("/", "_") for key in store.keys]
    write_store(flat, keys, store.images(), store.text, {})
    _, page = _write(EmbeddingStore.open(flat), tmp_path / "out", tmp_path / "nowhere")
    assert not (tmp_path / "out" / "confusion.png").exists()
    assert "Domain confusion" not in page
    assert "data:image/jpeg" not in page


def test_pictures_of_a_store_of_several_data_roots(store, tmp_path):
    """Cityscapes and ACDC lie in different places; one unreadable image is no obstacle."""
    (tmp_path / "other").mkdir()
    (tmp_path / "data" / "night").rename(tmp_path / "other" / "night")
    (tmp_path / "data" / store.keys[0]).write_bytes(b"no image")
    thumbnails = Thumbnails([tmp_path / "data", tmp_path / "other"])
    positions, method = project(store.images(), "pca")
    page = write_analysis(
        analyse_store(store), positions, method, thumbnails, tmp_path / "out", "T", {}
    ).read_text()
    assert list(thumbnails.unread) == [store.keys[0]]
    assert len(re.findall(r"<circle[^>]* data-picture=", page)) == 29
    assert "unknown model" in page


def test_numbers_have_the_digits_that_are_known():
    """40.00000059604645 percent of five images."""
    conditions = ("day",) * 5
    scores = torch.eye(3)[[0, 0, 1, 2, 2]]
    analysis = DomainAnalysis(tuple("abcde"), DOMAINS, scores, conditions)
    assert analysis.accuracy() == {"day": 40.0, "mean": 40.0, "all": 40.0}
    assert analysis.mean_scores()["day"] == [0.4, 0.2, 0.4]


def test_many_domains_get_different_colours(tmp_path):
    domains = tuple(f"d{i}" for i in range(10))
    scores = torch.eye(10)
    analysis = DomainAnalysis(tuple(f"{d}/a.png" for d in domains), domains, scores, domains)
    page = write_analysis(
        analysis, torch.rand(10, 2), "pca", Thumbnails(), tmp_path, "T", {}
    ).read_text()
    assert len(set(re.findall(r'fill="(#\w{6})"', page))) == 10


def test_temperature_changes_the_scores_only(store):
    cool, hot = (analyse_store(store, temperature=t) for t in (0.01, 10.0))
    assert torch.equal(cool.predicted, hot.predicted)
    assert (cool.certainty() > hot.certainty()).all()
