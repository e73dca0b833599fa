"""Class embeddings against the text towers that make them."""

import json
import shutil

import pytest
import torch
from open_clip import OPENAI_IMAGENET_TEMPLATES, SimpleTokenizer
from open_clip.model import CLIP
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from mmseg_domino.models.diffusion import text_towers as module
from mmseg_domino.models.diffusion.class_embeddings import (
    CLASS_OPTIONS,
    embed_classes,
    embed_classes_in_domains,
    find_class_embeddings,
    read_class_embeddings,
)
from mmseg_domino.models.diffusion.text_towers import open_text_tower
from mmseg_domino.models.diffusion.weights import open_weights
from mmseg_domino.utils.tensors import write_tensors
from street_world.models import build_mini_models

from .original_layout import original_file
from .test_weights import models
from .vpd_models import ARCHITECTURE, write_classes

CLASSES = ("road", "traffic light", "night sky")


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    return build_mini_models(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="module")
def tower(mini):
    return open_text_tower(None, open_weights(str(mini["sd"])))


def by_hand(folder):
    """Mean over templates of ``pooler_output``, one prompt at a time and without padding."""
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    rows = []
    with torch.no_grad():
        for name in CLASSES:
            states = [
                encoder(**tokenizer(template(name), return_tensors="pt")).pooler_output
                for template in OPENAI_IMAGENET_TEMPLATES
            ]
            rows.append(torch.cat(states).mean(dim=0))
    return torch.stack(rows)


def test_the_mean_over_80_templates_of_the_end_of_text_state(mini, tower):
    assert len(OPENAI_IMAGENET_TEMPLATES) == 80
    ours = embed_classes(tower, CLASSES)
    torch.testing.assert_close(ours, by_hand(mini["sd"]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_open_clips_tower_gives_the_same(mini, tower, prefix):
    other = open_text_tower(f"open_clip:{prefix}{mini['clip']}", open_weights(str(mini["sd"])))
    torch.testing.assert_close(
        embed_classes(other, CLASSES), embed_classes(tower, CLASSES), atol=1e-4, rtol=1e-4
    )


def test_another_folder_may_bring_the_tower(mini, tower):
    random = open_weights("random", ARCHITECTURE)
    ours = embed_classes(open_text_tower(str(mini["sd"]), random), CLASSES[:1])
    assert torch.equal(ours, embed_classes(tower, CLASSES[:1]))
    with pytest.raises(ValueError, match="random weights have no text tower; give `text_encoder`"):
        open_text_tower(None, random)


def test_a_folder_whose_tower_lacks_weights_is_refused(mini, tmp_path):
    folder = shutil.copytree(mini["sd"], tmp_path / "sd")
    path = folder / "text_encoder" / "model.safetensors"
    state = load_file(path)
    key = next(k for k in state if k.endswith("layers.0.mlp.fc1.bias"))
    del state[key]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"are not those of a CLIP text tower: 1 keys .*fc1\.bias"):
        open_text_tower(str(folder))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        open_text_tower(str(folder))
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(FileNotFoundError, match="has no `tokenizer`"):
        open_text_tower(str(folder))


@pytest.fixture
def small_clip(monkeypatch):
    """The text tower of Stable Diffusion 1.x at a smaller size, with its own vocabulary."""
    small = dict(module._CLIP_L, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                 num_attention_heads=2, projection_dim=32)  # fmt: skip
    monkeypatch.setattr(module, "_CLIP_L", small)
    torch.manual_seed(3)
    return CLIPTextModel(CLIPTextConfig(**small)).eval()


def original_with_text(small_clip, path, edit=lambda state: None):
    state = original_file(*models())
    for key, value in small_clip.state_dict().items():
        key = key.removeprefix("text_model.")
        state[f"cond_stage_model.transformer.text_model.{key}"] = value.clone()
    ids = torch.arange(77)[None]
    state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = ids
    edit(state)
    torch.save({"state_dict": state}, path)
    return open_weights(str(path), ARCHITECTURE)


def test_the_tower_in_an_original_file(small_clip, tmp_path):
    source = original_with_text(small_clip, tmp_path / "sd.ckpt")
    ours = embed_classes(open_text_tower(None, source), CLASSES)
    tokenizer = SimpleTokenizer(context_length=77)
    rows = []
    with torch.no_grad():
        for name in CLASSES:
            tokens = tokenizer([template(name) for template in OPENAI_IMAGENET_TEMPLATES])
            hidden = small_clip(input_ids=tokens).last_hidden_state
            end = (tokens == 49407).int().argmax(dim=1)
            rows.append(hidden[torch.arange(80), end].mean(dim=0))
    torch.testing.assert_close(ours, torch.stack(rows), atol=1e-5, rtol=1e-4)


@pytest.fixture
def small_open_clip(monkeypatch):
    """The text tower of Stable Diffusion 2.x at a smaller size, with its own vocabulary."""
    small = dict(module._CLIP_H, hidden_size=32, intermediate_size=128, num_hidden_layers=2,
                 num_attention_heads=2)  # fmt: skip
    monkeypatch.setattr(module, "_CLIP_H", small)
    torch.manual_seed(4)
    text = dict(vocab_size=49408, width=32, heads=2, layers=3)
    image = dict(image_size=32, layers=1, width=32, head_width=32, patch_size=16)
    return CLIP(32, image, text).eval()


def test_the_tower_in_an_original_file_of_2x(small_open_clip, tmp_path):
    """Against open_clip's own blocks, stopped before the last as Stable Diffusion 2.x does."""
    state = original_file(*models())
    for key, value in small_open_clip.state_dict().items():
        if not key.startswith("visual."):
            state[f"cond_stage_model.model.{key}"] = value.clone()
    torch.save({"state_dict": state}, tmp_path / "sd2.ckpt")
    source = open_weights(str(tmp_path / "sd2.ckpt"), ARCHITECTURE)
    ours = embed_classes(open_text_tower(None, source), CLASSES)
    clip, tokenizer = small_open_clip, SimpleTokenizer(context_length=77)
    rows = []
    with torch.no_grad():
        for name in CLASSES:
            tokens = tokenizer([template(name) for template in OPENAI_IMAGENET_TEMPLATES])
            hidden = clip.token_embedding(tokens) + clip.positional_embedding
            for block in clip.transformer.resblocks[:-1]:
                hidden = block(hidden, attn_mask=clip.attn_mask)
            end = (tokens == 49407).int().argmax(dim=1)
            rows.append(clip.ln_final(hidden)[torch.arange(80), end].mean(dim=0))
    torch.testing.assert_close(ours, torch.stack(rows), atol=1e-5, rtol=1e-4)


def test_an_original_file_without_a_tower_says_what_to_give(tmp_path):
    path = tmp_path / "sd.ckpt"
    torch.save(original_file(*models()), path)
    with pytest.raises(ValueError, match=r"holds no text tower of Stable Diffusion 1\.x") as error:
        open_text_tower(None, open_weights(str(path), ARCHITECTURE))
    assert "text_encoder" in str(error.value)
    assert "class_embeddings" in str(error.value)


def test_a_tower_with_missing_keys_is_refused(small_clip, tmp_path):
    key = "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc1.weight"
    source = original_with_text(small_clip, tmp_path / "x.ckpt", lambda state: state.pop(key))
    with pytest.raises(ValueError, match=r"does not fit: missing .*fc1\.weight"):
        open_text_tower(None, source)


# ---- Files --------------------------------------------------------------------------------------


def test_the_cache_is_read_and_says_where_it_is_from(mini, tower, tmp_path):
    folder = shutil.copytree(mini["sd"], tmp_path / "other")
    tmp_path = tmp_path / "cache"
    first = embed_classes(tower, CLASSES, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    with safe_open(file, "pt") as stored:
        provenance = json.loads(stored.metadata()["mmseg_domino"])
    assert provenance["classes"] == list(CLASSES)
    assert provenance["templates"] == 80
    assert provenance["max_length"] == 20
    assert provenance["text_tower"] == f"{mini['sd']}/text_encoder"
    assert provenance["weights_sha256"] == tower.sha256()
    # What is read is the file, not a new computation.
    marked = first + 1
    provenance.pop("sha256")
    write_tensors(file, {"class_embeddings": marked}, provenance)
    assert torch.equal(embed_classes(tower, CLASSES, cache=tmp_path), marked)
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.warns(UserWarning, match="is damaged .*it is made again"):
        assert torch.equal(embed_classes(tower, CLASSES, cache=tmp_path), first)
    assert torch.equal(embed_classes(tower, CLASSES, cache=tmp_path), first)
    # Other names or weights are other files.
    embed_classes(tower, CLASSES[:2], cache=tmp_path)
    weights = folder / "text_encoder" / "model.safetensors"
    state = load_file(weights)
    state[next(k for k in state if k.endswith("final_layer_norm.bias"))] += 1
    save_file(state, weights, metadata={"format": "pt"})
    embed_classes(open_text_tower(str(folder)), CLASSES, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_cache_that_cannot_be_written_is_warned_of(tower, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="class embeddings are not kept"):
        embed_classes(tower, CLASSES[:1], cache=tmp_path / "file" / "folder")


@pytest.mark.parametrize("names", [(), ("a", ""), ("a", " a ")])
def test_names_must_be_there_and_distinct(tower, names):
    with pytest.raises(ValueError, match="not empty and distinct"):
        embed_classes(tower, names)


def test_a_written_file_is_checked_against_names(tower, tmp_path):
    path = tmp_path / "c.safetensors"
    embeddings = embed_classes(tower, CLASSES, out=path)
    assert torch.equal(read_class_embeddings(path, CLASSES), embeddings)
    with pytest.raises(ValueError, match=r"were made for the classes .*order counts"):
        read_class_embeddings(path, CLASSES[::-1])


def test_files_that_are_no_class_embeddings_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of class embeddings at"):
        read_class_embeddings(tmp_path / "none.safetensors")
    save_file({"other": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"no tensor `class_embeddings`; it holds \['other'\]"):
        read_class_embeddings(tmp_path / "other.safetensors")
    flat = write_classes(tmp_path / "flat.safetensors", torch.ones(4))
    with pytest.raises(ValueError, match=r"must be \(N, D\), got \(4,\)"):
        read_class_embeddings(flat)
    path = tmp_path / "cut.safetensors"
    write_classes(path, torch.ones(4, 4))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        read_class_embeddings(path)


# ---- For a UNet ---------------------------------------------------------------------------------


def find(width=12, **kwargs):
    options = {**CLASS_OPTIONS, **kwargs}
    return find_class_embeddings(open_weights("random", ARCHITECTURE), "random", width, options)


def test_random_weights_get_random_embeddings_of_clips_norm():
    assert find(names=CLASSES).shape == (3, 12)
    torch.testing.assert_close(find(count=2).norm(dim=1), torch.full((2,), 28.5))
    with pytest.raises(ValueError, match="give `classes`: names, or dict"):
        find()


def test_second_generation_widths_do_not_fit_first_generation_embeddings(tmp_path):
    path = write_classes(tmp_path / "c.safetensors", torch.ones(3, 768))
    with pytest.raises(
        ValueError, match="are 768 wide, and the cross-attention of random takes"
    ) as e:
        find(1024, embeddings=path)
    assert path in str(e.value)
    assert "1024" in str(e.value)


def test_counts_and_names_must_agree(tmp_path):
    path = write_classes(tmp_path / "c.safetensors", torch.ones(3, 12))
    with pytest.raises(ValueError, match=r"are 3 class embeddings and classes\.count is 19"):
        find(embeddings=path, count=19)
    with pytest.raises(ValueError, match=r"are 3 class embeddings and classes\.count is 2"):
        find(names=CLASSES, count=2)
    with pytest.raises(ValueError, match="holds 3 class embeddings and `classes` names 2"):
        find(embeddings=path, names=CLASSES[:2])


def test_real_weights_need_names_or_a_file(mini):
    with pytest.raises(ValueError, match="needs `classes`: their names"):
        find_class_embeddings(open_weights(str(mini["sd"])), "mini", 96, CLASS_OPTIONS)


@pytest.mark.parametrize("of", ["folder", "open_clip"])
def test_names_beyond_the_towers_length_are_said_and_never_made_equal(mini, tower, of):
    if of == "open_clip":
        tower = open_text_tower(f"open_clip:{mini['clip']}")
    start = "part of the road " * tower.max_length
    with pytest.warns(UserWarning, match=r"prompts of 1 classes are longer .*'part of the road"):
        embed_classes(tower, ("road", start))
    with pytest.raises(ValueError, match="differ only beyond"):
        embed_classes(tower, (f"{start} ahead", f"{start} behind"))
    assert tower.cut([template(CLASSES[1]) for template in OPENAI_IMAGENET_TEMPLATES]) == []


def test_a_tower_in_half_precision_alone_is_read_and_the_plain_one_preferred(mini, tower, tmp_path):
    folder = shutil.copytree(mini["sd"], tmp_path / "sd")
    plain = folder / "text_encoder" / "model.safetensors"
    state = load_file(plain)
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    wrong = {k: v * 2 if v.is_floating_point() else v for k, v in half.items()}
    save_file(wrong, plain.with_name("model.fp16.safetensors"), metadata={"format": "pt"})
    expected = embed_classes(tower, CLASSES)
    torch.testing.assert_close(embed_classes(open_text_tower(str(folder)), CLASSES), expected)
    save_file(half, plain.with_name("model.fp16.safetensors"), metadata={"format": "pt"})
    plain.unlink()
    ours = embed_classes(open_text_tower(str(folder)), CLASSES)
    torch.testing.assert_close(ours, expected, atol=0.05, rtol=0.01)
    assert ours.dtype == torch.float32


def test_classes_in_domains_are_means_over_the_domains_words(tower, tmp_path):
    domains = dict(fog=("fog", "dense fog"), night=("the night",))
    table = embed_classes_in_domains(tower, CLASSES, domains, cache=tmp_path)
    assert table.shape == (2, 3, 96)
    expected = tower(["traffic light in fog", "traffic light in dense fog"]).mean(dim=0)
    torch.testing.assert_close(table[0, 1], expected)
    torch.testing.assert_close(table[1, 2], tower(["night sky in the night"])[0])
    (file,) = tmp_path.iterdir()
    with safe_open(file, "pt") as opened:
        made = json.loads(opened.metadata()["mmseg_domino"])
    assert made["domains"] == ["fog", "night"]
    assert made["weights_sha256"] == tower.sha256()

    class Silent:
        name, max_length = tower.name, tower.max_length
        sha256 = staticmethod(tower.sha256)

    assert torch.equal(embed_classes_in_domains(Silent(), CLASSES, domains, tmp_path), table)
