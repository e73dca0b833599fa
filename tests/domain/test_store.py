import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from mmseg_domino.domain import DomainText, EmbeddingStore, load_prompt_bank, write_store
from mmseg_domino.domain.maker import check_made_by, check_same_maker
from mmseg_domino.domain.store import load_prototypes

MADE = {
    "model": "ViT-L-14",
    "pretrained": "openai",
    "weights_sha256": "a" * 64,
    "bank": "acdc",
    "bank_sha256": "b" * 64,
    "preprocessing": {"size": 224},
    "precision": "fp32",
}
KEYS = ["leftImg8bit/val/b/1.png", "leftImg8bit/val/a/1.png", "leftImg8bit/val/a/2.png"]


def _text(width=4):
    joint = F.normalize(torch.arange(1.0, 2 * width + 1).view(2, width), dim=1)
    return DomainText(("day", "fog"), joint, torch.arange(6.0).view(2, 3), 100.0)


def _rows(count=3):
    return F.normalize(torch.randn(count, 4, generator=torch.Generator().manual_seed(0)), dim=1)


@pytest.fixture
def store(tmp_path):
    write_store(tmp_path / "s.safetensors", KEYS, _rows(), _text(), MADE)
    return EmbeddingStore.open(tmp_path / "s.safetensors")


def test_round_trip(store):
    assert store.keys == tuple(sorted(KEYS))
    assert store.provenance == MADE
    assert store.text.keys == ("day", "fog")
    assert store.text.logit_scale == 100.0
    torch.testing.assert_close(store.text.joint, _text().joint, rtol=0, atol=0)
    for key, row in zip(KEYS, _rows(), strict=True):
        assert torch.equal(store.image(store.find(key)), row)
    assert torch.equal(store.images()[1], _rows()[2])


def test_bytes_do_not_depend_on_the_order_of_the_images(store, tmp_path):
    order = [2, 0, 1]
    other = tmp_path / "other.safetensors"
    write_store(
        other, [KEYS[i] for i in order], _rows()[order], _text(), dict(reversed(MADE.items()))
    )
    assert other.read_bytes() == store.path.read_bytes()


def test_layout_is_the_documented_one(store):
    from safetensors import safe_open

    with safe_open(store.path, "pt") as file:
        assert set(file.keys()) == {"image", "text_joint", "text_context", "logit_scale"}
        assert set(file.metadata()) == {"mmseg_domino"}
        assert file.get_tensor("logit_scale").shape == ()


@pytest.mark.parametrize(
    "path",
    [
        "/anywhere/cityscapes/leftImg8bit/val/a/1.png",
        "data/cityscapes/leftImg8bit/val/a/1.png",
        "leftImg8bit/val/a/1.png",
        "val/a/1.png",
        "a/1.png",
    ],
)
def test_find_by_the_longest_ending(store, path):
    assert store.keys[store.find(path)] == "leftImg8bit/val/a/1.png"


def test_find_takes_whole_components_only(store):
    for path in ("/data/xleftImg8bit/val/a/1.png", "/data/night/1.png", "/data/val/a/1.png"):
        with pytest.raises(KeyError):
            store.find(path)


def test_find_prefers_the_longer_key(tmp_path):
    keys = ["1.png", "a/1.png"]
    write_store(tmp_path / "s.safetensors", keys, _rows(2), _text(), MADE)
    store = EmbeddingStore.open(tmp_path / "s.safetensors")
    assert store.keys[store.find("/x/a/1.png")] == "a/1.png"
    assert store.keys[store.find("/x/b/1.png")] == "1.png"


def test_find_refuses_an_ambiguous_path(store):
    with pytest.raises(ValueError, match="fits 2 images"):
        store.find("1.png")


def test_find_below_a_root_is_exact(store):
    assert store.keys[store.find("/r/leftImg8bit/val/b/1.png", root="/r")] == KEYS[0]
    with pytest.raises(KeyError):
        store.find("/r/x/leftImg8bit/val/b/1.png", root="/r")


def test_missing_image_names_the_first_the_count_and_the_command(store, tmp_path):
    folder = tmp_path / "rgb_anon" / "fog"
    folder.mkdir(parents=True)
    for i in range(5):
        (folder / f"new_{i}.png").touch()
    with pytest.raises(KeyError) as caught:
        store.find(folder / "new_3.png")
    message = str(caught.value)
    assert "with\n    domino" in message
    assert "lacks 5 of the images" in message
    assert "new_0.png" in message
    assert "domino domains extract" in message
    assert f"--bank acdc --model ViT-L-14 --pretrained openai --out {store.path}" in message
    assert store.has(KEYS[0])
    assert not store.has(folder / "new_1.png")


def test_broken_embeddings_are_neither_written_nor_read(tmp_path):
    rows = _rows()
    rows[1, 2] = torch.nan
    with pytest.raises(ValueError, match=r"1 images hold NaN.*a/1.png"):
        write_store(tmp_path / "s.safetensors", KEYS, rows, _text(), MADE)
    assert not list(tmp_path.iterdir())
    write_store(tmp_path / "s.safetensors", KEYS, _rows(), _text(), MADE)
    content = bytearray((tmp_path / "s.safetensors").read_bytes())
    value = _rows()[2].numpy().tobytes()
    at = content.index(value)
    content[at : at + 4] = b"\x00\x00\xc0\x7f"
    (tmp_path / "s.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="checksum is wrong"):
        EmbeddingStore.open(tmp_path / "s.safetensors")


def test_no_flipped_bit_passes(store):
    """Anywhere in the file: refused with its name, or without effect on anything that is read."""
    whole = store.path.read_bytes()
    rng = np.random.default_rng(0)
    for number, place in enumerate(rng.integers(0, len(whole), 60)):
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path = store.path.with_name(f"{number}.safetensors")
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{number}\.safetensors is not a store"):
            EmbeddingStore.open(path)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1e6])
@pytest.mark.parametrize("what", ["image", "joint", "context"])
def test_embeddings_of_impossible_length_are_refused(tmp_path, factor, what):
    if what == "context" and factor == 0.5:
        return  # these have no fixed length
    rows, text = _rows(), _text()
    table = {"image": rows, "joint": text.joint, "context": text.context}[what]
    table[1] *= factor
    with pytest.raises(ValueError, match="impossible norm, the first"):
        write_store(tmp_path / "s.safetensors", KEYS, rows, text, MADE)
    assert not list(tmp_path.iterdir())


def test_a_store_is_used_only_with_the_encoder_that_made_it():
    made = MADE | {"bank_sha256": load_prompt_bank("acdc").sha256}
    check_made_by(made, {}, "it")
    check_made_by(made, dict(type="DomainEncoder", model="ViT-L-14", pretrained="openai"), "it")
    for other, named in (
        (dict(model="ViT-B-32"), "model 'ViT-L-14', asked for 'ViT-B-32'"),
        (dict(pretrained="laion2b"), "pretrained 'openai', asked for 'laion2b'"),
        (dict(bank="weather"), "bank_sha256"),
        (dict(precision="bf16"), "precision 'fp32', asked for 'bf16'"),
    ):
        with pytest.raises(ValueError, match=named):
            check_made_by(made, other, "it")


def test_repeated_or_missing_keys_are_refused(tmp_path):
    with pytest.raises(ValueError, match="more than once"):
        write_store(tmp_path / "s.safetensors", ["a", "b", "a"], _rows(), _text(), MADE)
    with pytest.raises(ValueError, match="2 image paths but 3"):
        write_store(tmp_path / "s.safetensors", ["a", "b"], _rows(), _text(), MADE)


def test_open_explains_what_is_not_a_store(tmp_path, store):
    with pytest.raises(FileNotFoundError, match="domino domains extract"):
        EmbeddingStore.open(tmp_path / "none.safetensors")
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other)
    with pytest.raises(ValueError, match="is not a store"):
        EmbeddingStore.open(other)
    other.write_bytes(store.path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is not a store"):
        EmbeddingStore.open(other)


def test_same_maker_names_each_difference():
    check_same_maker(MADE, MADE | {"date": "later"}, "it", "")
    with pytest.raises(ValueError, match=r"it was made with the model ViT-L-14/openai.*ViT-B-32"):
        other = {"model": "ViT-B-32", "weights_sha256": "c" * 64}
        check_same_maker(MADE, MADE | other, "it", "Do so.")
    with pytest.raises(ValueError, match=r"the prompt bank 'acdc'.*instead of 'weather'.*Do so."):
        check_same_maker(MADE, MADE | {"bank": "weather", "bank_sha256": "d"}, "it", "Do so.")


def test_prototypes_are_one_mean_a_store(store):
    expected = F.normalize(_rows().mean(0), dim=0)
    torch.testing.assert_close(load_prototypes(str(store.path))[0], expected)
    assert load_prototypes({"a": str(store.path), "b": str(store.path)}).shape == (2, 4)
    assert load_prototypes(None) is None
