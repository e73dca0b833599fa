import random
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmseg.registry import TRANSFORMS
from mmseg.utils import register_all_modules

from mmseg_domino.datasets import (
    DrawWeather,
    EncodeDomain,
    LoadDomainEmbedding,
    RenderWeather,
    SeedSample,
)
from mmseg_domino.datasets.mixture import SampleIndex
from mmseg_domino.datasets.transforms import domain as domain_module
from mmseg_domino.domain.sources import DomainText
from mmseg_domino.domain.store import write_store
from mmseg_domino.weather import DOMAINS, Scene, describe_view

from ...weather.scenes import CLASSES, HEIGHT, WIDTH, street

KEYS = ("clear_day", *DOMAINS)


def sample(draw=0, domain="clear_day"):
    scene = street()
    return {
        "img": scene.image[..., ::-1].copy(),
        "gt_seg_map": scene.label.copy(),
        "seg_fields": ["gt_seg_map"],
        "img_path": "data/images/town/a.png",
        "seg_map_path": "data/labels/town/a.png",
        "img_shape": scene.label.shape,
        "ori_shape": scene.label.shape,
        "domain": domain,
        "sample_idx": SampleIndex(0, draw, 7),
    }


def run(results, *transforms):
    for transform in transforms:
        results = transform(results)
    return results


def test_draws_are_a_function_of_seed_and_position():
    """Whatever came before, and however often: the same draw gives the same image."""
    draw = DrawWeather(prob=0.5)
    made = [run(sample(n), SeedSample(), draw, RenderWeather()) for n in range(12)]
    assert 2 < sum(m["domain"] != "clear_day" for m in made) < 11
    assert len({m["domain"] for m in made}) > 2
    np.random.seed(99)
    random.seed(99)
    for n in (11, 3, 7):
        again = run(sample(n), SeedSample(), draw, RenderWeather())
        assert again["domain"] == made[n]["domain"]
        assert np.array_equal(again["img"], made[n]["img"])
    # The draws of what follows do not depend on what the weather came to.
    following = []
    for prob in (0.0, 1.0):
        run(sample(5), SeedSample(), DrawWeather(prob=prob), RenderWeather())
        following.append(np.random.random())
    assert following[0] == following[1]


def test_what_gets_no_weather_is_left_alone():
    results = run(sample(), DrawWeather(prob=0.0), RenderWeather())
    assert results.keys() == sample().keys()
    assert np.array_equal(results["img"], sample()["img"])
    assert results["domain"] == "clear_day"


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_a_resized_cropped_and_flipped_image_has_its_own_weather(flip, ratio):
    """Fog, which is exact by pixel: the crop's is the whole image's fog at the crop's place."""
    register_all_modules(init_default_scope=False)
    geometry = [
        TRANSFORMS.build(dict(type="Resize", scale=(int(WIDTH * ratio), int(HEIGHT * ratio)))),
        TRANSFORMS.build(dict(type="RandomCrop", crop_size=(100, 160))),
        TRANSFORMS.build(dict(type="RandomFlip", prob=float(flip))),
    ]
    np.random.seed(3)
    draw = DrawWeather(prob=1.0, domains=["fog"])
    results = run(sample(), draw, *geometry)
    weather, view, classes, _ = results["weather"]
    index = results["weather_index"]
    assert index.shape == (100, 160)
    whole = Scene.of_image(street().image, street().label, CLASSES, view)
    expected = whole.distance.ravel()[index]
    made = run(results, RenderWeather())
    assert "weather_index" not in made
    assert made["seg_fields"] == ["gt_seg_map"]
    crop = Scene.of_crop(
        made["img"], made["gt_seg_map"], classes, view,
        np.linspace(index[0, 0] % WIDTH + 0.5, index[0, -1] % WIDTH + 0.5, 160) / WIDTH,
        np.linspace(index[0, 0] // WIDTH + 0.5, index[-1, 0] // WIDTH + 0.5, 100) / HEIGHT,
    )  # fmt: skip
    near = np.abs(np.log(crop.distance / expected)) < 0.02
    assert near.mean() > 0.95  # the rest lies at edges, half a pixel off
    assert weather.domain == "fog"


@pytest.fixture(scope="module")
def text():
    rng = torch.Generator().manual_seed(0)
    joint = torch.nn.functional.normalize(torch.randn(5, 8, generator=rng), dim=1)
    return DomainText(KEYS, joint, torch.randn(5, 6, generator=rng), 100.0)


@pytest.fixture
def store(tmp_path, text):
    path = tmp_path / "store.safetensors"
    write_store(path, ["town/a.png"], text.joint[:1], text, {"model": "m"})
    return str(path)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(("source", "space"), [("soft", "context"), ("image", "joint")])
def test_the_rule_gives_the_domains_own_text(store, text, domain, source, space):
    attach = LoadDomainEmbedding(store, source=source, space=space)
    results = run(sample(), DrawWeather(prob=1.0, domains=[domain]), attach)
    row = KEYS.index(domain)
    assert results["domain"] == domain
    assert results["domain_scores"].argmax() == row
    np.testing.assert_allclose(results["domain_embedding"], text.table(space)[row], atol=1e-4)
    clear = run(sample(), DrawWeather(prob=0.0), attach)
    np.testing.assert_allclose(clear["domain_embedding"], text.table(space)[0], atol=1e-4)
    kept = run(sample(), DrawWeather(prob=1.0, domains=[domain], embedding="keep"), attach)
    np.testing.assert_allclose(kept["domain_embedding"], text.table(space)[0], atol=1e-4)


def test_clip_is_shown_the_whole_image_in_its_weather(store, text, monkeypatch):
    shown = []

    def encode(pixels):
        return text.joint[2:3]

    def prepare(image):
        shown.append(image)
        return torch.zeros(3, 4, 4)

    encoder = SimpleNamespace(encode_pixels=encode, prepare=prepare, text=text)
    monkeypatch.setattr(domain_module, "_build_encoder", lambda config: encoder)
    draw = DrawWeather(prob=1.0, domains=["night"], embedding="clip", encoder=dict(model="m"))
    for attach in (LoadDomainEmbedding(store, source="argmax"), EncodeDomain(source="argmax")):
        results = run(sample(), draw, attach)
        np.testing.assert_allclose(results["domain_embedding"], text.context[2])
    assert len(shown) == 2
    assert shown[0].shape == (HEIGHT, WIDTH, 3)
    assert shown[0].mean() < 0.6 * street().image.mean()


def test_depth_files_are_found_by_the_images_path(tmp_path):
    (tmp_path / "disparity/town").mkdir(parents=True)
    stored = np.full((HEIGHT, WIDTH), 256 * 20 + 1, np.uint16)
    cv2.imwrite(str(tmp_path / "disparity/town/a_disparity.png"), stored)
    results = sample()
    results["img_path"] = "/elsewhere/leftImg8bit/train/town/a_leftImg8bit.png"
    depth = dict(root=str(tmp_path / "disparity"), image_suffix="_leftImg8bit")
    view = DrawWeather(prob=1.0, depth=depth)(results)["weather"][1]
    assert view.measured
    assert np.median(view.distance) == pytest.approx(0.209313 * 2262.52 / 20, rel=0.05)
    with pytest.raises(FileNotFoundError, match=r"no depth of other/b\.png"):
        DrawWeather(prob=1.0, depth=depth)({**sample(), "img_path": "other/b.png"})


def test_without_depth_files_the_labels_road_is_the_plane():
    results = DrawWeather(prob=1.0)(sample())
    view = results["weather"][1]
    scene = street()
    expected = describe_view(scene.image, scene.label, CLASSES, None)
    assert not view.measured
    assert np.array_equal(view.distance, expected.distance)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (dict(prob=1.5), "prob"),
        (dict(embedding="guess"), "embedding"),
        (dict(embedding="clip"), "needs encoder"),
        (dict(domains=["hail"]), "domains"),
        (dict(domains={"fog": 0.0}), "domains"),
        (dict(strength=(0.5, 2.0)), "strength"),
        (dict(classes=["road"]), None),
    ],
)
def test_wrong_arguments_are_refused(arguments, match):
    if match is not None:
        with pytest.raises(ValueError, match=match):
            DrawWeather(**arguments)
        return
    with pytest.raises(ValueError, match=r"labels/town/a\.png holds class 13.* names 1"):
        DrawWeather(prob=1.0, **arguments)(sample())


def test_colours_come_after(store):
    results = DrawWeather(prob=1.0)(sample())
    results["img"] = results["img"].astype(np.float32)
    with pytest.raises(ValueError, match="uint8"):
        RenderWeather()(results)


def test_a_weather_that_the_bank_lacks_is_named(tmp_path, text):
    two = DomainText(KEYS[:2], text.joint[:2], text.context[:2], 100.0)
    write_store(tmp_path / "s.safetensors", ["a.png"], text.joint[:1], two, {})
    attach = LoadDomainEmbedding(str(tmp_path / "s.safetensors"))
    with pytest.raises(ValueError, match="'snow' is no domain of the prompt bank"):
        run(sample(), DrawWeather(prob=1.0, domains=["snow"]), attach)
