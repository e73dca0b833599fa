import pytest
import timm
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch.testing import assert_close

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino.models.backbones import TimmViT
from mmseg_domino.models.heads import EoMTHead, MaskSetLoss
from mmseg_domino.models.heads.mask_loss import class_masks

MODEL = "vit_small_patch14_reg4_dinov2"
SMALL = dict(depth=4, embed_dim=32, num_heads=2, img_size=56)
ROTARY = "vit_small_patch16_dinov3"
CLASSES, QUERIES, D = 3, 5, 6
LOSS = dict(num_points=50)


def backbone(model=MODEL, options=SMALL, **kwargs):
    return dict(type="TimmViT", model=model, weights=None, out_indices=(1,), prefix_tokens=True,
                options=options, **kwargs)  # fmt: skip


def head(model=MODEL, options=SMALL, **kwargs):
    return dict(type="EoMTHead", model=model, weights=None, num_blocks=2, num_queries=QUERIES,
                num_classes=CLASSES, options=options, loss=LOSS, **kwargs)  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_progress():
    MessageHub.get_instance("eomt-tests")  # the current one: no run is under way
    MessageHub.get_current_instance().runtime_info.clear()
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def pair():
    """transformers' EoMT, and backbone and head here with its parameters."""
    from transformers import EomtConfig, EomtForUniversalSegmentation

    torch.manual_seed(1)
    config = EomtConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        num_blocks=2, num_queries=QUERIES, num_labels=CLASSES, train_num_points=50,
        attn_implementation="eager",
    )  # fmt: skip
    other = EomtForUniversalSegmentation(config)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    state = other.state_dict()
    mine, ours = MODELS.build(backbone()), MODELS.build(head())
    load(mine.vit, {k: v for k, v in translate(state).items() if k in mine.vit.state_dict()})
    names = {"upscale": "upscale_block.block", "query": "query", "class_embed": "class_predictor"}
    parts = {f"vit.{k}": v for k, v in translate(state).items()}
    for name in ours.state_dict():
        root, rest = name.split(".", 1) if "." in name else (name, "")
        if root in names:
            rest = rest.replace(".up.", ".conv1.").replace(".conv.", ".conv2.")
            parts[name] = state[f"{names[root]}.{rest.replace('.norm.', '.layernorm2d.')}"]
        elif root == "mask_embed":
            layer, kind = rest.split(".")
            parts[name] = state[f"mask_head.fc{int(layer) // 2 + 1}.{kind}"]
    parts["mask_probability"] = torch.ones(2)
    load(ours, {k: parts[k] for k in ours.state_dict()})
    return other, mine, ours


def load(module, state):
    module.load_state_dict(state, strict=True)


def translate(state):
    """transformers' names of the encoder as timm's."""
    out = {
        "cls_token": state["embeddings.cls_token"],
        "reg_token": state["embeddings.register_tokens"],
        "pos_embed": state["embeddings.position_embeddings.weight"][None],
        "patch_embed.proj.weight": state["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": state["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": state["layernorm.weight"],
        "norm.bias": state["layernorm.bias"],
    }
    for i in range(4):
        old, new = f"layers.{i}.", f"blocks.{i}."
        for kind in ("weight", "bias"):
            qkv = [state[f"{old}attention.{x}_proj.{kind}"] for x in "qkv"]
            out[f"{new}attn.qkv.{kind}"] = torch.cat(qkv)
            out[f"{new}attn.proj.{kind}"] = state[f"{old}attention.out_proj.{kind}"]
            for a in ("mlp.fc1", "mlp.fc2", "norm1", "norm2"):
                out[f"{new}{a}.{kind}"] = state[f"{old}{a}.{kind}"]
        for j in "12":
            out[f"{new}ls{j}.gamma"] = state[f"{old}layer_scale{j}.lambda1"]
    return out


def images(count=2, size=56):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("probability", [1.0, 0.0])
def test_it_is_transformers_eomt(pair, probability, device):
    other, mine, ours = (part.to(device).eval() for part in pair)
    other.attn_mask_probs.fill_(probability)
    ours.set_mask_probability([probability] * 2)
    with torch.no_grad():
        expected = other(images().to(device))
        classes, masks = ours(mine(images().to(device)))
    assert len(masks) == (3 if probability else 1)
    assert_close(masks[-1], expected.masks_queries_logits, rtol=1e-4, atol=1e-4)
    assert_close(classes[-1], expected.class_queries_logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("probability", [1.0, 0.5])
def test_its_loss_and_gradients_are_those_of_transformers(pair, probability, device):
    other, mine, ours = (part.to(device).train() for part in pair)
    other.attn_mask_probs.fill_(probability)
    ours.set_mask_probability([probability] * 2)
    samples, x = labelled(device=device), images().to(device)
    targets = [class_masks(s.gt_sem_seg.data[0], 255) for s in samples]
    torch.manual_seed(4)
    expected = other(x, mask_labels=[m.float() for _, m in targets],
                     class_labels=[c for c, _ in targets]).loss  # fmt: skip
    torch.manual_seed(4)
    losses = ours.loss(mine(x), samples, None)
    assert sorted(losses) == sorted(f"{d}loss_{x}" for d in ("", "d0.", "d1.")
                                    for x in ("cls", "dice", "mask"))  # fmt: skip
    found = sum(losses.values())
    assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for part in pair:
        part.zero_grad()
    found.backward()
    expected.backward()
    one = ours.vit.blocks["2"].mlp.fc1.weight.grad
    assert_close(one, other.layers[2].mlp.fc1.weight.grad, rtol=1e-3, atol=1e-4)
    assert_close(ours.query.weight.grad, other.query.weight.grad, rtol=1e-3, atol=1e-4)


def labelled(count=2, size=56, fill=None, device="cpu"):
    label = torch.randint(0, CLASSES, (count, 1, size, size)).to(device)
    label[:, :, :9] = 255
    if fill is not None:
        label.fill_(fill)
    samples = []
    for i, one in enumerate(label):
        meta = dict(ori_shape=(size, size), img_shape=(size, size), pad_shape=(size, size))
        sample = SegDataSample(gt_sem_seg=PixelData(data=one), metainfo=meta)
        embedding = torch.randn(D, generator=torch.Generator().manual_seed(i))
        sample.domain_embedding = embedding.to(device)
        samples.append(sample)
    return samples


def segmentor(**test_cfg):
    neck_free = dict(type="DominoBackbone", backbone=backbone(), domain_channels=D)
    return MODELS.build(ConfigDict(
        type="DominoEncoderDecoder", backbone=neck_free, decode_head=head(),
        test_cfg=test_cfg or dict(mode="whole"),
    ))  # fmt: skip


def test_it_learns_and_predicts_under_domino(device):
    model, x = segmentor().to(device).train(), images().to(device)
    sum(model(x, labelled(device=device), mode="loss").values()).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []
    with torch.no_grad():
        model.backbone.domain.modulation.out.weight.normal_(std=0.5)
        model.eval()
        samples = labelled(device=device)
        one = [s.seg_logits.data for s in model(x, samples, mode="predict")]
        samples[0].domain_embedding = -samples[0].domain_embedding
        other = [s.seg_logits.data for s in model(x, samples, mode="predict")]
    assert one[0].shape == (CLASSES, 56, 56)
    assert (one[0] - other[0]).abs().max() > 0
    assert_close(one[1], other[1])


def test_images_without_any_class_give_finite_losses_and_gradients():
    model = segmentor().train()
    loss = sum(model(images(), labelled(fill=255), mode="loss").values())
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_sliding_over_one_window_is_the_whole_image(device):
    whole = segmentor().to(device).eval()
    slide = segmentor(mode="slide", crop_size=(56, 56), stride=(28, 28)).to(device).eval()
    slide.load_state_dict(whole.state_dict())

    def scores(model, size=56):
        samples = labelled(size=size, device=device)
        return model(images(size=size).to(device), samples, mode="predict")[0].seg_logits.data

    with torch.no_grad():
        one, other, large = scores(whole), scores(slide), scores(slide, 84)
    assert_close(one, other)
    assert large.shape == (CLASSES, 84, 84)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_it_trains_in_mixed_precision(dtype, device):
    model = segmentor().to(device).train()
    with torch.autocast(device.type, dtype):
        losses = model(images().to(device), labelled(device=device), mode="loss")
    assert all(value.dtype == torch.float32 for value in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("model", [MODEL, ROTARY, "eva02_tiny_patch14_224", "vit_tiny_patch16_224"])
def test_its_blocks_continue_the_backbone(model):
    size = dict(depth=4, embed_dim=64, num_heads=2)
    whole = timm.create_model(model, num_classes=0, dynamic_img_size=True, **size).eval()
    first, last = MODELS.build(backbone(model, size)), MODELS.build(head(model, size))
    for part in (first, last):
        own = part.vit.state_dict()
        load(part.vit, {k: v for k, v in whole.state_dict().items() if k in own})
        part.eval()
    x = images(size=112 if "14" in model else 96)
    with torch.no_grad():
        patches, prefix = first(x)
        grid = tuple(patches.shape[2:])
        tokens = torch.cat([prefix, patches.flatten(2).transpose(1, 2)], 1)
        for index in last.vit.blocks:
            tokens = last.vit.step(index, tokens, grid, None)
        expected = whole.forward_features(x)
        if last.vit.final == "norm":
            tokens = last.vit.normalise(tokens)
    assert_close(tokens, expected, rtol=1e-4, atol=1e-4)


def test_masking_is_given_up_block_by_block():
    model = MODELS.build(head(annealing=(0.2, 0.8)))
    hub = MessageHub.get_current_instance()
    hub.update_info("max_iters", 100)
    seen = {}
    for done in (0, 20, 35, 50, 65, 80, 99):
        hub.update_info("iter", done)
        model._anneal()
        seen[done] = model.mask_probability.tolist()
        assert model._probabilities == [pytest.approx(p) for p in seen[done]]
    half = pytest.approx(0.5**0.9)
    one, zero = pytest.approx(1.0), pytest.approx(0.0, abs=1e-5)
    assert seen == {0: [one, one], 20: [one, one], 35: [half, one], 50: [zero, one],
                    65: [zero, half], 80: [zero, zero], 99: [zero, zero]}  # fmt: skip
    later = MODELS.build(head())
    later.load_state_dict(model.state_dict())
    assert later._probabilities is None  # until they are read, once
    prefixed = images().new_zeros(1, 32, 4, 4), images().new_zeros(1, 5, 32)
    assert len(later.eval()(prefixed)[0]) == 1
    assert later._probabilities == seen[99]


def test_weights_come_from_the_models_own_file(tmp_path):
    whole = timm.create_model(MODEL, num_classes=0, **SMALL)
    torch.save(whole.state_dict(), tmp_path / "vit.pth")
    model = EoMTHead(MODEL, CLASSES, 2, weights=str(tmp_path / "vit.pth"), options=SMALL)
    model.init_weights()
    assert_close(model.vit.blocks["3"].mlp.fc1.weight, whole.blocks[3].mlp.fc1.weight)
    assert_close(model.vit.norm.weight, whole.norm.weight)


@pytest.mark.parametrize(("changes", "match"), [
    (dict(num_blocks=4), "1 to 3"),
    (dict(annealing=(0.5, 0.2)), "rise within"),
    (dict(model="samvit_base_patch16", options={}), "plain|attention mask"),
])  # fmt: skip
def test_what_cannot_be_is_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        MODELS.build({**head(), **changes})


def test_prefix_tokens_are_optional():
    with torch.no_grad():
        plain = TimmViT(MODEL, weights=None, out_indices=(1,), options=SMALL)(images())
    assert [tuple(x.shape) for x in plain] == [(2, 32, 4, 4)]


def test_matching_is_one_to_one_and_prefers_the_right_mask():
    loss = MaskSetLoss(CLASSES, num_points=400)
    truth = torch.zeros(2, 8, 8, dtype=torch.bool)
    truth[0, :4], truth[1, 4:] = True, True
    masks = torch.full((4, 8, 8), -8.0)
    masks[2, :4], masks[0, 4:] = 8.0, 8.0
    query, true = loss.match(torch.zeros(4, CLASSES + 1), masks, torch.tensor([1, 2]), truth)
    assert dict(zip(query.tolist(), true.tolist(), strict=True)) == {2: 0, 0: 1}
    masks[1] = float("nan")
    query, true = loss.match(torch.zeros(4, CLASSES + 1), masks, torch.tensor([1, 2]), truth)
    assert sorted(query.tolist()) == [0, 2]
