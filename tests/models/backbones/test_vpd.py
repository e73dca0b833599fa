"""DominoVPD's options, each against what it stands for."""

import copy

import pytest
import torch
from diffusers import AutoencoderTiny
from torch.utils.flop_counter import FlopCounterMode

from mmseg_domino.models.diffusion.latent_encoder import LatentEncoder
from mmseg_domino.models.diffusion.vpd_parts import resolve_weights
from mmseg_domino.models.layers import AttentionMapProcessor

from ..diffusion.vpd_models import (
    ARCHITECTURE,
    UNET,
    VAE,
    make_vpd,
    randomise,
    write_classes,
    write_folder,
    write_tiny_vae,
)

D, N = 12, 5


def build(seed=0, **kwargs):
    """A tiny model, the same for each seed whatever the options."""
    if "names" not in kwargs:
        kwargs.setdefault("count", N)
    model = make_vpd(**{"injection": "none", **kwargs})
    base = [model.unet, model.vae.encoder, model.vae.quant_conv, model.context]
    for i, module in enumerate(m for m in base if m is not None):
        randomise(module, seed + i)
    generator = torch.Generator().manual_seed(seed)
    model.context.class_embeddings.copy_(torch.randn(N, D, generator=generator) * 5)
    return model.eval()


def images(*shape, seed=1):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture
def x(device):
    return images(2, 3, 64, 128).to(device)


@pytest.fixture
def domain(device):
    return torch.randn(2, D, generator=torch.Generator().manual_seed(2)).to(device) * 5


def close(ours, reference, **kwargs):
    for level, (a, b) in enumerate(zip(ours, reference, strict=True)):
        torch.testing.assert_close(
            a, b, **{"atol": 2e-5, "rtol": 1e-4, **kwargs}, msg=lambda m, i=level: f"{i}: {m}"
        )


# ---- Shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("maps", "channels"),
    [((16, 32), (8, 13, 21, 16)), ((8, 16, 32), (13, 13, 21, 16)), ((), (8, 8, 16, 16)),
     ([32, 8], (13, 8, 21, 16))],
)  # fmt: skip
@torch.no_grad()
def test_channels_and_sizes_of_the_levels(maps, channels, device):
    model = build(maps=maps).to(device)
    assert model.out_channels == channels
    for size in ((64, 64), (40, 100), (65, 128), (8, 8)):
        shapes = [tuple(f.shape) for f in model(images(1, 3, *size).to(device))]
        assert shapes == [
            (1, c, -(-size[0] // s), -(-size[1] // s))
            for c, s in zip(channels, (8, 16, 32, 64), strict=True)
        ]


@torch.no_grad()
def test_sides_that_are_no_multiples_of_64_are_padded_by_the_border(device):
    model, x = build().to(device), images(1, 3, 70, 90).to(device)
    rows, columns = (torch.arange(128).clamp(max=n - 1) for n in (70, 90))
    whole = model(x[:, :, rows][..., columns])
    cut = [
        f[..., : -(-70 // s), : -(-90 // s)] for f, s in zip(whole, (8, 16, 32, 64), strict=True)
    ]
    close(model(x), cut)


@torch.no_grad()
def test_maps_say_where_each_class_is_attended_to(x, device):
    model = build(maps=(8, 16, 32)).to(device)
    channels = UNET["block_out_channels"]
    for feature, plain in zip(model(x)[:3], channels, strict=False):
        torch.testing.assert_close(
            feature[:, plain:].sum(dim=1), torch.ones((), device=device).expand_as(feature[:, 0])
        )
    order = torch.tensor([3, 1, 0, 4, 2])
    before = [f[:, c:] for f, c in zip(model(x)[:3], channels, strict=False)]
    model.context.class_embeddings.copy_(model.context.class_embeddings[order])
    after = [f[:, c:] for f, c in zip(model(x)[:3], channels, strict=False)]
    close(after, [m[:, order] for m in before])


@torch.no_grad()
def test_encode_and_forward_latent_are_the_two_halves(x, domain, device):
    model = build(injection="subtract").to(device)
    close(
        model.forward_latent(model.encode(x), domain, (64, 128)), model(x, domain), atol=0, rtol=0
    )


# ---- Domain -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("injection", "scale", "sign"),
    [("subtract", 1.0, -1), ("add", 1.0, 1), ("subtract", 0.5, -0.5)],
)
@torch.no_grad()
def test_the_domain_moves_the_class_tokens(injection, scale, sign, x, domain, device):
    model = build(injection=injection, gate=False, scale=scale).to(device)
    tokens = model.context.class_embeddings
    context = model.context
    adapted = tokens + context.gamma * context.text_adapter(tokens)
    ours = model(x, domain)
    for i in range(2):
        plain = build().to(device)
        plain.context.class_embeddings.copy_(adapted + sign * domain[i])
        plain.context.gamma.zero_()
        close([f[i : i + 1] for f in ours], plain(x[i : i + 1]), atol=1e-4)


@torch.no_grad()
def test_the_domain_may_be_one_more_token(x, domain, device):
    model = build(injection="concat").to(device)
    assert model.out_channels == build().to(device).out_channels  # it gets no map
    ours = model(x, domain)
    maps = ours[1][:, 8:].sum(dim=1)
    assert (maps < 1).all()
    assert not torch.allclose(ours[3], model(x, -domain)[3], atol=1e-4)


@torch.no_grad()
def test_windows_of_images_share_their_domain(domain, device):
    model = build(injection="subtract").to(device)
    windows = images(6, 3, 64, 64).to(device)
    close(model(windows, domain, windows=3), model(windows, domain.repeat(3, 1)))
    with pytest.raises(ValueError, match="a batch of 6 cannot hold 4 windows an image"):
        model(windows, domain, windows=4)


def test_another_number_or_width_of_embeddings_is_refused(x, domain, device):
    model = build(injection="subtract").to(device)
    for wrong in (None, domain[:1], domain[:, :5]):
        with pytest.raises(ValueError, match="domain"):
            model(x, wrong)


@torch.no_grad()
def test_the_domain_moves_maps_a_class_at_a_time_but_not_as_one_vector(x, domain, monkeypatch):
    """One vector added to all class tokens moves all keys alike, which softmax cancels."""
    maps, inner = [], AttentionMapProcessor._probabilities

    def probabilities(query, key, scale):
        maps.append(inner(query, key, scale))
        return maps[-1]

    monkeypatch.setattr(AttentionMapProcessor, "_probabilities", staticmethod(probabilities))

    def change(model, first, second):
        """Of the first layer's map: what comes before it does not know the domain."""
        found = []
        for given in (first, second):
            maps.clear()
            model(x, given)
            found.append(maps[0])
        return (found[0] - found[1]).abs().max().item()

    options = dict(injection="subtract", maps=(8, 16, 32), gate=False)
    shared = build(**options)
    assert change(shared, domain, domain.flip(0)) < 1e-5
    assert not torch.allclose(shared(x, domain)[3], shared(x, domain.flip(0))[3], atol=1e-4)
    names = ("road", "car", "sky", "pole", "bus")
    classwise = build(names=names, classwise=dict(bank="acdc"), **options)
    classwise.read_weights()
    classwise.context.table.set(torch.randn(5, N, D, generator=torch.Generator().manual_seed(6)))
    fog, snow = torch.eye(5)[[1, 1]], torch.eye(5)[[4, 4]]
    assert change(classwise, dict(scores=fog), dict(scores=snow)) > 1e-3


@torch.no_grad()
def test_the_unets_norms_follow_the_domain_and_start_as_plain(x, domain):
    joint = torch.randn(2, 7, generator=torch.Generator().manual_seed(3))
    given = dict(joint=joint, context=domain)
    options = dict(norms=dict(space="joint"), domain_channels=7, attention=dict(space="context"))
    model = build(injection="subtract", **options)
    assert all(torch.equal(a, b) for a, b in zip(model(x, given), build()(x), strict=True))
    # 22 residual layers with two norms, 16 transformers with one before and three inside
    assert len(model.domain.names) == 22 * 2 + 16 * 4
    torch.nn.init.normal_(model.domain.modulation.out.weight, std=0.1)
    ours = model(x, given)
    swapped = model(x, dict(joint=joint.flip(0), context=domain))
    assert not torch.allclose(ours[3], swapped[3], atol=1e-4)
    twice = model(x.repeat(2, 1, 1, 1), given, windows=2)
    close([f[2:] for f in twice], ours)
    some = build(**{**options, "norms": dict(layers=r"^mid_block.*norm[12]$", space="joint")},
                 injection="add")  # fmt: skip
    assert all(n.startswith("mid_block") for n in some.domain.names)
    names = {k for k in model.state_dict() if not k.startswith("domain.")}
    assert names - {"context.gate"} == set(build().state_dict())


def test_norms_train_under_gradient_checkpointing(x, domain):
    results = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = build(norms="all", domain_channels=D, injection="add", checkpointing=checkpointing)
        torch.nn.init.normal_(model.domain.modulation.out.weight, std=0.1)
        results.append(gradients(model, x, domain))
    same_gradients(results[1], results[0])
    assert results[0]["domain.modulation.hidden.weight"].abs().sum() > 0


def test_a_checkpoint_is_enough_where_the_config_says_the_architecture(x, domain, tmp_path):
    folder = write_folder(tmp_path / "model")
    path = write_classes(tmp_path / "c.safetensors", torch.randn(N, D))
    trained = make_vpd(str(folder), embeddings=path).eval()
    trained.init_weights()
    weights = resolve_weights(str(folder))
    state = trained.state_dict()
    (tmp_path / "c.safetensors").unlink()
    folder.rename(tmp_path / "elsewhere")
    other = make_vpd(weights, embeddings=path, count=N).eval()
    other.load_state_dict(state)
    with torch.no_grad():
        close(other(x, domain), trained(x, domain), atol=0, rtol=0)
    with pytest.raises(FileNotFoundError, match="is no file or folder here"):
        make_vpd(weights, embeddings=path, count=N)(x, domain)


def test_what_was_loaded_into_a_part_is_not_read_over(x, domain, tmp_path):
    folder = write_folder(tmp_path / "model")
    model = make_vpd(str(folder), count=N, names=tuple("abcde"), injection="none").eval()
    other = build()
    model.unet.load_state_dict(other.unet.state_dict())
    model.context.load_state_dict(other.context.state_dict())
    with torch.no_grad():
        latent = model.encode(x)
        close(model.forward_latent(latent, None, (64, 128)),
              other.forward_latent(latent, None, (64, 128)), atol=0, rtol=0)  # fmt: skip
    whole = make_vpd(str(folder), count=N, names=tuple("abcde"), injection="none")
    whole.vae.load_state_dict(model.vae.state_dict())
    whole.context.load_state_dict(other.context.state_dict())
    whole.read_weights()
    assert torch.equal(whole.vae.encoder.conv_in.weight, model.vae.encoder.conv_in.weight)
    assert whole.unet.conv_in.weight.isfinite().all()
    assert not torch.equal(whole.unet.conv_in.weight, other.unet.conv_in.weight)


def test_weights_of_another_architecture_than_said_are_refused(tmp_path):
    folder = write_folder(tmp_path / "model", unet=dict(attention_head_dim=4))
    model = make_vpd(str(folder), ARCHITECTURE, count=N, names=tuple("abcde"))
    with pytest.raises(ValueError, match=r"of another architecture .*attention_head_dim.*\(4, 2\)"):
        model.read_weights()


def test_options_without_effect_are_refused():
    for options, match in (
        (
            dict(injection="add", attention=dict(injection="none")),
            "have no effect: cross-att",
        ),
        (dict(attention=dict(injection="add")), r"attention\.injection='add' would have no effect"),
        (dict(injection="add", norms="all"), "needs domain_channels"),
        (dict(injection="concat", norms="all", domain_channels=3), "'concat' of norms"),
        (dict(injection="concat", gate=True), "gate would have no effect"),
        (dict(injection="add", centre="fog"), "a centre needs to know in which space"),
        (dict(attention=dict(map=3)), r"unknown options \['map'\] in `attention`; valid: inj"),
    ):
        with pytest.raises(ValueError, match=match):
            build(**options)


# ---- Options of the original and of others ------------------------------------------------------


@torch.no_grad()
def test_the_timestep_reaches_the_unet(x, device):
    model, other = build().to(device), build(timestep=500).to(device)
    latent = model.encode(x)
    reference = model.unet.time_embedding(
        model.unet.time_proj(torch.tensor([500], device=device)).to(latent.dtype)
    )
    seen = []
    other.unet.mid_block.resnets[0].register_forward_pre_hook(lambda _m, args: seen.append(args[1]))
    ours = other(x)
    assert torch.equal(seen[0], reference)
    assert not torch.allclose(ours[3], model(x)[3], atol=1e-4)


@torch.no_grad()
def test_latent_options_reach_the_encoder(x, device):
    plain = build().to(device).encode(x)
    torch.testing.assert_close(build(vae_scale=0.18215).to(device).encode(x), plain * 0.18215)
    sampled = build(vae_latent="sample").to(device)
    assert not torch.equal(sampled.encode(x), sampled.encode(x))


@torch.no_grad()
def test_another_encoder_in_the_autoencoders_place(x, tmp_path, device):
    path = write_tiny_vae(tmp_path / "tiny")
    model = make_vpd(count=N, injection="none", vae_weights=str(path)).to(device)
    tiny = AutoencoderTiny.from_pretrained(path).to(device)
    torch.testing.assert_close(model.encode(x), tiny.encode(x).latents / 0.18215)
    assert model(x)[0].shape == (2, 8, 8, 16)
    with pytest.raises(ValueError, match="no posterior"):
        build(vae_weights=str(path), vae_latent="sample")


@torch.no_grad()
def test_channels_last_changes_the_layout_and_not_the_result(x, device):
    model = build(channels_last=True).to(device)
    # The base of a convolution whose layout can be told.
    weight = model.unet.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    seen = []
    model.unet.conv_in.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    close(model(x), build().to(device)(x))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_the_number_of_images_at_a_time(x, device):
    close(build(vae_batch=1).to(device)(x), build().to(device)(x))


# ---- Training -----------------------------------------------------------------------------------


def gradients(model, x, domain):
    model.train()
    model.zero_grad()
    features = model(x, domain)
    loss = sum(
        (f * torch.linspace(-1, 1, f.numel(), device=f.device).view_as(f)).sum() for f in features
    )
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def same_gradients(ours, reference, tolerance=1e-4):
    assert set(ours) == set(reference)
    for name, gradient in reference.items():
        scale = gradient.abs().max().clamp(min=1e-6)
        assert (ours[name] - gradient).abs().max() <= tolerance * scale, name


def test_gradient_checkpointing_gives_the_same_gradients(x, domain, device):
    plain = gradients(build(injection="subtract").to(device), x, domain)
    ours = gradients(build(injection="subtract", checkpointing=True).to(device), x, domain)
    same_gradients(ours, plain)
    assert any(name.startswith("context.text_adapter") for name in ours)


def test_every_trained_parameter_gets_a_gradient(x, domain, device):
    """Nothing is left over for distributed training to wait for."""
    model = build(injection="subtract").to(device)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert set(gradients(model, x, domain)) == trained


def test_the_encoder_stays_frozen_whatever_the_runner_calls(x, domain, device):
    model = build(injection="subtract").to(device)
    model.requires_grad_(True)
    model.train()
    model.apply(lambda module: module.train())
    model.vae.train()
    got = gradients(model, x, domain)
    assert not any(name.startswith("vae.") for name in got)
    assert not any(module.training for module in model.vae.modules())
    assert model.unet.training
    assert not model.encode(x).requires_grad


# ---- torch.compile ------------------------------------------------------------------------------


@pytest.fixture
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_dynamo")
def test_the_pass_is_captured_as_one_graph(x, domain, device):
    """Without code generation, which takes minutes: capture is what a change here can break."""
    options = dict(injection="subtract", maps=(8, 16, 32))
    model = build(compile=dict(backend="eager", fullgraph=True), **options).to(device)
    plain = build(**options).to(device)
    with torch.no_grad():
        close(model(x, domain), plain(x, domain))
    assert set(model.state_dict()) == set(plain.state_dict())
    assert copy.deepcopy(model).out_channels == plain.out_channels


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_code_gives_the_same_features_and_gradients(checkpointing, x, domain, device):
    model = build(injection="subtract", compile=True, checkpointing=checkpointing).to(device)
    plain = build(injection="subtract").to(device)
    with torch.no_grad():
        close(model(x, domain), plain(x, domain), atol=1e-4, rtol=1e-3)
        close(model(x[..., :64], domain), plain(x[..., :64], domain), atol=1e-4, rtol=1e-3)
    # Fused kernels add in another order, as above.
    same_gradients(gradients(model, x, domain), gradients(plain, x, domain), tolerance=1e-3)


# ---- Half precision -----------------------------------------------------------------------------


@torch.no_grad()
def test_under_autocast_context_probabilities_and_latents_stay_float32(
    x, domain, monkeypatch, device
):
    model = build(injection="subtract", vae_dtype="float32").to(device)
    exact_context, exact_latent = model.context(domain), model.encode(x)
    exact = model(x, domain)
    seen = {}
    inner = AttentionMapProcessor._probabilities

    def probabilities(query, key, scale):
        seen["query"], seen["result"] = query.dtype, inner(query, key, scale)
        # What rounds is only what comes in.
        reference = (query.double() * scale @ key.double().transpose(-1, -2)).softmax(dim=-1)
        torch.testing.assert_close(seen["result"].double(), reference, atol=1e-6, rtol=1e-5)
        return seen["result"]

    monkeypatch.setattr(AttentionMapProcessor, "_probabilities", staticmethod(probabilities))
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert torch.equal(model.context(domain), exact_context)
        assert torch.equal(model.encode(x), exact_latent)
        half = model(x, domain)
    assert seen["query"] == torch.bfloat16
    assert seen["result"].dtype == torch.float32
    for ours, reference in zip(half, exact, strict=True):
        error = (ours.float() - reference).abs().max() / reference.abs().max()
        assert 0 < error < 0.1


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_unet_in_half_precision_takes_what_it_is_given(dtype, autocast, x, domain, device):
    """For inference: no weight is converted in the pass, and half of the memory is enough."""
    if device.type == "cpu" and dtype == torch.float16:
        pytest.skip("the CPU's convolutions in float16 are slow, and nobody uses them")
    exact = build(injection="subtract").to(device)(x, domain)
    model = build(injection="subtract", vae_dtype="float32").to(device)
    model.unet.to(dtype)
    with torch.autocast(device.type, dtype, enabled=autocast):
        half = model(x, domain)
    for ours, reference in zip(half, exact, strict=True):
        error = (ours.float() - reference).abs().max() / reference.abs().max()
        assert 0 < error < 0.1


def test_training_under_autocast_gives_finite_float32_gradients(x, domain, device):
    model = build(injection="subtract").to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        got = gradients(model, x, domain)
    assert all(g.dtype == torch.float32 for g in got.values())
    assert all(g.isfinite().all() for g in got.values())


# ---- True size ----------------------------------------------------------------------------------


def test_operations_at_true_size_are_those_that_were_counted():
    """On the meta device, at 512 x 512: autoencoder 1.12 TFLOP, UNet 0.80, TAESD 0.12."""
    with torch.device("meta"):
        model = make_vpd(count=19, architecture="sd15", injection="none").eval()
        tiny = LatentEncoder(AutoencoderTiny())
    assert model.out_channels == (320, 659, 1299, 1280)

    def count(run):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            result = run()
        return result, counter.get_total_flops() / 1e12

    x = torch.zeros(1, 3, 512, 512, device="meta")
    latent, vae = count(lambda: model.encode(x))
    features, unet = count(lambda: model.forward_latent(latent, None, (512, 512)))
    assert round(vae, 2) == 1.12
    assert round(unet, 2) == 0.80
    assert round(count(lambda: tiny(x))[1], 2) == 0.12
    assert [tuple(f.shape[1:]) for f in features] == [
        (320, 64, 64), (659, 32, 32), (1299, 16, 16), (1280, 8, 8)
    ]  # fmt: skip


# ---- What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            dict(maps=True),
            r"is a tuple of strides of 8, 16, 32, each once, or \(\) for no maps; got True",
        ),
        (dict(maps=(64,)), r"attention.maps is a tuple of strides of 8, 16, 32, each once"),
        (dict(maps=(16, 16)), r"each once, or \(\) for no maps; got \(16, 16\)"),
        (dict(timestep=1000), "timestep is a whole number from 0 to 999"),
        (dict(timestep=1.5), "timestep is a whole number"),
        (dict(vae_latent="mean"), "vae.latent must be"),
        (dict(vae_batch=0), "vae.batch must be at least 1"),
        (dict(injection="minus"), "unknown injection 'minus'"),
        (dict(tune="half"), "unknown tune 'half'; valid ones are full, frozen, norms, lora"),
        (dict(adapter=dict(rank=2)), "`adapter` has the options of tune=.*got tune='full'"),
        (dict(names=("a", "b"), count=3), "2 class embeddings and classes.count is 3"),
    ],
)
def test_options_that_do_not_exist_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        build(**options)


def test_the_widths_of_classes_and_unet_must_agree(tmp_path):
    """Stable Diffusion 2's UNet reads 1024-wide states, Stable Diffusion 1's classes are 768."""
    folder = write_folder(tmp_path / "sd2", unet=dict(cross_attention_dim=1024))
    path = write_classes(tmp_path / "classes.safetensors", torch.ones(3, 768))
    with pytest.raises(ValueError, match="are 768 wide, and the cross-attention") as error:
        make_vpd(str(folder), embeddings=path)
    for part in (str(folder), path, "takes 1024", "Embed the names with the text tower"):
        assert part in str(error.value)


def test_a_vae_that_is_missing_stops_before_training(tmp_path):
    import shutil

    folder = write_folder(tmp_path / "model")
    shutil.rmtree(folder / "vae")
    with pytest.raises(FileNotFoundError, match="has no `vae`"):
        make_vpd(str(folder), count=3)
    write_tiny_vae(tmp_path / "tiny")
    path = write_classes(tmp_path / "c.safetensors", torch.ones(3, D))
    make_vpd(str(folder), embeddings=path, vae_weights=str(tmp_path / "tiny"))


def test_models_of_other_latents_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is it SDXL"):
        build(architecture=dict(unet=dict(UNET, addition_embed_type="text_time"), vae=VAE))
