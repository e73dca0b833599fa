import copy
import json
import subprocess
import sys

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from mmseg_domino.domain import DomainEncoder, MissingWeightsError, load_prompt_bank
from mmseg_domino.domain.maker import check_made_by, context_layer

from ..tiny_clip import CONFIG, write_tiny_clip


@pytest.fixture(scope="module")
def encoder(tiny_clip):
    return DomainEncoder(str(tiny_clip))


@pytest.fixture
def encoder_there(encoder, device):
    """The encoder on the device of the test."""
    return copy.deepcopy(encoder).to(device)


@pytest.fixture(scope="module")
def direct(tiny_clip):
    """The same model by open_clip's own calls."""
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip}")
    return model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{tiny_clip}")


def _image(seed=0, size=(60, 90)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_scores_equal_open_clip_zero_shot(encoder_there, encoder, direct):
    model, transform, tokenizer = direct
    arrays = [_image(0), _image(1, (90, 60))]
    with torch.no_grad():
        columns = []
        for domain in load_prompt_bank("acdc").domains:
            text = model.encode_text(tokenizer(list(domain.prompts)), normalize=True)
            columns.append(F.normalize(text.mean(dim=0), dim=0))
        pixels = torch.stack([transform(Image.fromarray(a)) for a in arrays])
        image = model.encode_image(pixels, normalize=True)
        expected = (model.logit_scale.exp() * image @ torch.stack(columns).T).softmax(dim=1)
    pixels = torch.stack([encoder_there.prepare(a) for a in arrays])
    scores, embedding = (out.cpu() for out in encoder_there(pixels))
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(embedding, image, rtol=0, atol=1e-6)
    torch.testing.assert_close(encoder.text.joint, torch.stack(columns), rtol=0, atol=1e-6)


def test_context_equals_transformers_pooler_output(encoder):
    """Stable Diffusion reads the text with transformers' CLIPTextModel."""
    transformers = pytest.importorskip("transformers")
    text = CONFIG["model_cfg"]["text_cfg"]
    config = transformers.CLIPTextConfig(
        vocab_size=text["vocab_size"],
        hidden_size=text["width"],
        intermediate_size=4 * text["width"],
        num_hidden_layers=text["layers"],
        num_attention_heads=text["heads"],
        max_position_embeddings=text["context_length"],
        hidden_act="gelu",
        eos_token_id=49407,
        bos_token_id=49406,
    )
    other = transformers.CLIPTextModel(config).eval()
    other.load_state_dict(_as_transformers(encoder.clip.state_dict(), other.state_dict()))
    prompts = ["a photo taken in fog", "night"]
    with torch.no_grad():
        expected = other(encoder.tokenizer(prompts)).pooler_output
    joint, context = encoder.encode_text(prompts)
    torch.testing.assert_close(context, expected, rtol=0, atol=2e-5)
    projected = F.normalize(context @ encoder.clip.text_projection, dim=-1)
    torch.testing.assert_close(joint, projected, rtol=0, atol=1e-6)


def _as_transformers(source, target):
    """open_clip's text tower under transformers' names."""
    prefix = "text_model." if any(k.startswith("text_model.") for k in target) else ""
    result = {
        "embeddings.token_embedding.weight": source["token_embedding.weight"],
        "embeddings.position_embedding.weight": source["positional_embedding"],
    }
    for end in ("weight", "bias"):
        result[f"final_layer_norm.{end}"] = source[f"ln_final.{end}"]
        for i in range(CONFIG["model_cfg"]["text_cfg"]["layers"]):
            here, there = f"transformer.resblocks.{i}", f"encoder.layers.{i}"
            packed = source[f"{here}.attn.in_proj_{end}"].chunk(3)
            for part, value in zip("qkv", packed, strict=True):
                result[f"{there}.self_attn.{part}_proj.{end}"] = value
            for ours, theirs in (
                ("attn.out_proj", "self_attn.out_proj"),
                ("ln_1", "layer_norm1"),
                ("ln_2", "layer_norm2"),
                ("mlp.c_fc", "mlp.fc1"),
                ("mlp.c_proj", "mlp.fc2"),
            ):
                result[f"{there}.{theirs}.{end}"] = source[f"{here}.{ours}.{end}"]
    result = {prefix + key: value for key, value in result.items()}
    for key in target:
        if key.endswith("position_ids"):
            result[key] = target[key]
    return result


@pytest.mark.parametrize("changes", [{}, {"pool_type": "last"}, {"proj_bias": True}])
def test_context_of_other_text_towers(tmp_path, changes):
    """Towers of their own, as SigLIP and CoCa have; projections may be layers."""
    config = json.loads(json.dumps(CONFIG["model_cfg"])) | {"custom_text": True}
    config["text_cfg"] |= changes
    path = tmp_path / "custom.json"
    path.write_text(json.dumps(config))
    encoder = DomainEncoder(str(path), "random")
    before = list(encoder.state_dict())
    joint, context = encoder.encode_text(["a photo taken in fog", "night"])
    projection = encoder.clip.text.text_projection
    bias = isinstance(projection, torch.nn.Linear)
    projected = projection(context) if bias else context @ projection
    torch.testing.assert_close(joint, F.normalize(projected, dim=-1))
    assert context.shape == (2, 24)
    assert list(encoder.state_dict()) == before


def test_context_of_a_domain_is_the_plain_mean_of_its_prompts(encoder):
    _, context = encoder.encode_text(encoder.bank.domains[2].prompts)
    torch.testing.assert_close(encoder.text.context[2], context.mean(dim=0))
    assert encoder.clip.text_projection is not None  # put back after each use


def test_is_frozen_inside_a_model_in_training(encoder):
    holder = torch.nn.Sequential(encoder).train()
    assert holder.training
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_raw_images_may_differ_in_size(encoder_there):
    images = [
        torch.from_numpy(_image(i, s)).permute(2, 0, 1) for i, s in enumerate([(40, 50), (64, 33)])
    ]
    together = encoder_there.encode_raw(images)
    apart = torch.cat([encoder_there.encode_raw([image]) for image in images])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-6)


def test_precision_is_not_the_callers(encoder_there):
    pixels = encoder_there.prepare(_image())[None]
    with torch.autocast(encoder_there.device.type, dtype=torch.bfloat16):
        inside = encoder_there.encode_pixels(pixels)
    torch.testing.assert_close(inside, encoder_there.encode_pixels(pixels), rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_stays_close(tiny_clip, encoder_there, precision):
    device = encoder_there.device
    pixels = encoder_there.prepare(_image())[None]
    low = DomainEncoder(str(tiny_clip), precision=precision).to(device).encode_pixels(pixels)
    assert low.dtype == torch.float32
    exact = encoder_there.encode_pixels(pixels)
    assert not torch.equal(low, exact)
    assert (low * exact).sum() > 0.999


def test_prepare_refuses_other_images(encoder):
    with pytest.raises(ValueError, match="uint8"):
        encoder.prepare(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ValueError, match="expected an RGB image"):
        encoder.encode_raw([torch.zeros(1, 4, 4)])


def test_config_json_with_checkpoint_equals_the_folder(tiny_clip, tmp_path, encoder):
    bare = tmp_path / "tiny.json"
    bare.write_text(json.dumps(CONFIG["model_cfg"]))
    state = load_file(tiny_clip / "open_clip_model.safetensors")
    torch.save(state, tmp_path / "tiny.pt")
    for checkpoint in (tiny_clip / "open_clip_model.safetensors", tmp_path / "tiny.pt"):
        other = DomainEncoder(str(bare), pretrained=str(checkpoint))
        assert other.weights_sha256 == encoder.weights_sha256
        torch.testing.assert_close(other.text.context, encoder.text.context)


def test_hash_knows_the_weights_and_not_the_file(tiny_clip, tmp_path, encoder):
    assert DomainEncoder(f"local-dir:{tiny_clip}").weights_sha256 == encoder.weights_sha256
    changed = write_tiny_clip(tmp_path / "other")
    state = load_file(changed / "open_clip_model.safetensors")
    state["ln_final.bias"][0] += 1e-3
    save_file(state, changed / "open_clip_model.safetensors")
    assert DomainEncoder(str(changed)).weights_sha256 != encoder.weights_sha256


def test_random_weights_only_when_asked_for_and_by_seed(tiny_clip, tmp_path):
    empty = tmp_path / "no_weights"
    empty.mkdir()
    (empty / "open_clip_config.json").write_bytes(
        (tiny_clip / "open_clip_config.json").read_bytes()
    )
    with pytest.raises(MissingWeightsError, match="pretrained='random'"):
        DomainEncoder(str(empty))
    before = torch.random.get_rng_state()
    hashes = {s: DomainEncoder(str(empty), "random", seed=s).weights_sha256 for s in (0, 1)}
    assert DomainEncoder(str(empty), "random").weights_sha256 == hashes[0] != hashes[1]
    assert torch.equal(before, torch.random.get_rng_state())


def test_missing_weights_offline_name_the_command(tmp_path):
    """Neither the Hub's weights (the default) nor those at a URL are looked for online."""
    code = (
        "import socket\n"
        "from mmseg_domino.domain import DomainEncoder, MissingWeightsError\n"
        f"folder = {str(tmp_path)!r}\n"
        "def refuse(*_, **__): raise AssertionError('went online')\n"
        "socket.socket.connect = refuse\n"
        "for arguments in ({}, dict(model='RN50', pretrained='yfcc15m', cache_dir=folder)):\n"
        "    try: DomainEncoder(**arguments)\n"
        "    except MissingWeightsError as error: print(error, end='=====')\n"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=offline)
    assert done.returncode == 0, done.stderr
    messages = done.stdout.split("=====")[:-1]
    assert len(messages) == 2
    for message, model in zip(messages, ("ViT-L-14", "RN50"), strict=True):
        assert f"create_model_and_transforms('{model}'" in message
        assert "HF_HUB_OFFLINE=0 python -c" in message


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match="ViT-B-32"):
        DomainEncoder("ViT-B-33")
    with pytest.raises(ValueError, match="openai"):
        DomainEncoder("ViT-B-32", pretrained="opnai")
    with pytest.raises(ValueError, match="fp32, bf16, fp16"):
        DomainEncoder(precision="fp8")


def test_missing_files_say_what_is_expected(tmp_path, tiny_clip):
    with pytest.raises(MissingWeightsError, match="hf download"):
        DomainEncoder(str(tmp_path / "nowhere"))
    with pytest.raises(MissingWeightsError, match="no open_clip config file"):
        DomainEncoder(str(tmp_path / "nothing.json"))
    with pytest.raises(MissingWeightsError, match="no checkpoint"):
        DomainEncoder("ViT-B-32", pretrained=str(tmp_path / "nothing.pt"))
    with pytest.raises(ValueError, match="would be ignored"):
        DomainEncoder(str(tiny_clip), pretrained="laion2b_s34b_b79k")
    with pytest.raises(MissingWeightsError, match="path of a checkpoint"):
        DomainEncoder(str(tiny_clip / "open_clip_config.json"))


def test_openai_weights_get_the_activation_they_were_trained_with(monkeypatch):
    """open_clip would only warn that ViT-L-14 has another activation than its openai weights."""
    asked = {}

    def create_model(name, pretrained, **options):
        asked.update(options, name=name, pretrained=pretrained)
        raise RuntimeError("far enough")

    monkeypatch.setattr(open_clip, "create_model", create_model)
    with pytest.raises(MissingWeightsError):
        DomainEncoder()
    assert asked["pretrained"] == "openai"
    assert asked["force_quick_gelu"] is True
    with pytest.raises(MissingWeightsError):
        DomainEncoder("ViT-B-32", "laion2b_s34b_b79k")
    assert asked["force_quick_gelu"] is False


def test_a_bank_that_is_longer_than_the_tower_reads_is_refused(tiny_clip, tmp_path):
    start = "a photo of a street " * 12
    path = tmp_path / "long.yaml"
    path.write_text(f"templates: ['{start}{{domain}}']\ndomains: {{a: [fog], b: [rain]}}\n")
    encoder = DomainEncoder(str(tiny_clip), bank=path)
    with pytest.raises(ValueError, match=r"reads 32 tokens.* street fog'; .*'long'"):
        encoder.text  # noqa: B018
    same = encoder.encode_text([start + "fog", start + "rain"], truncate=True)[0]
    assert torch.equal(same[0], same[1])  # what is guarded against


def test_the_context_of_the_layer_before_the_last(tiny_clip, direct):
    """As Stable Diffusion 2.x reads its tower: against open_clip's own blocks."""
    model, _, tokenizer = direct
    prompts = ["a photo taken in fog", "night"]
    before = DomainEncoder(str(tiny_clip), context_layer=-2)
    tokens = tokenizer(prompts)
    with torch.no_grad():
        hidden = model.token_embedding(tokens) + model.positional_embedding[: tokens.shape[1]]
        for block in model.transformer.resblocks[:-1]:
            hidden = block(hidden, attn_mask=model.attn_mask)
        end = tokens.argmax(dim=1)
        expected = model.ln_final(hidden)[torch.arange(2), end]
    joint, context = before.encode_text(prompts)
    torch.testing.assert_close(context, expected, rtol=0, atol=1e-5)
    plain = DomainEncoder(str(tiny_clip))
    same, last = plain.encode_text(prompts)
    assert torch.equal(joint, same)
    assert (last - context).abs().max() > 1e-2
    assert len(before.clip.transformer.resblocks) == 2
    assert before.provenance() != plain.provenance()
    # class tokens by the same tower and layer, and none mistaken for the other's
    with pytest.raises(ValueError, match="context_layer -2, asked for None"):
        check_made_by(before.provenance(), {"model": str(tiny_clip)}, "the store")
    check_made_by(before.provenance(), {"model": str(tiny_clip), "context_layer": -2}, "the store")
    with pytest.raises(ValueError, match="context_layer=-4 does not exist"):
        DomainEncoder(str(tiny_clip), context_layer=-4).encode_text(prompts)
    with pytest.raises(ValueError, match="counts from the last"):
        DomainEncoder(str(tiny_clip), context_layer=1)


def test_which_layer_a_published_tower_is_read_at():
    assert context_layer("ViT-H-14") == -2
    assert context_layer("ViT-H-14-quickgelu") == -2
    assert context_layer("ViT-L-14") == -1
    assert context_layer("ViT-H-14", -1) == -1
