import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmseg_domino.domain import SOURCES, DomainText, EmbeddingSource
from mmseg_domino.domain.sources import (
    domain_scores,
    perturb_embedding,
    prototype_table,
    random_table,
)

KEYS = ("day", "fog", "night")


@pytest.fixture
def text():
    generator = torch.Generator().manual_seed(0)
    joint = F.normalize(torch.randn(3, 8, generator=generator), dim=1)
    context = 28 * F.normalize(torch.randn(3, 6, generator=generator), dim=1)
    return DomainText(KEYS, joint, context, 10.0)


@pytest.fixture
def image():
    return F.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(1)), dim=1)


def test_scores_are_the_softmax_of_scaled_cosines(image, text):
    expected = torch.softmax(10.0 * F.cosine_similarity(image[:, None], text.joint[None], -1), -1)
    torch.testing.assert_close(domain_scores(image, text.joint, 0.1), expected)
    with pytest.raises(ValueError, match="positive"):
        domain_scores(image, text.joint, 0.0)
    with pytest.raises(ValueError, match="different models"):
        domain_scores(image[:, :5], text.joint, 0.1)


@pytest.mark.parametrize("space", ["joint", "context"])
def test_argmax_and_soft_agree_at_zero_temperature(image, text, space):
    hard, scores = EmbeddingSource("argmax", space)(image, text)
    assert torch.equal(hard, text.table(space)[scores.argmax(1)])
    soft, _ = EmbeddingSource("soft", space, temperature=1e-4)(image, text)
    torch.testing.assert_close(soft, hard)
    uniform, _ = EmbeddingSource("soft", space, temperature=1e6)(image, text)
    torch.testing.assert_close(uniform, text.table(space).mean(0).expand(4, -1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("space", ["joint", "context"])
def test_residual_is_soft_minus_the_mean_text(image, text, space):
    soft, _ = EmbeddingSource("soft", space)(image, text)
    residual, _ = EmbeddingSource("residual", space)(image, text)
    torch.testing.assert_close(residual, soft - text.table(space).mean(0))


def test_image_is_the_image(image, text):
    assert torch.equal(EmbeddingSource("image", "joint")(image, text)[0], image)


@pytest.mark.parametrize("name", ["image", "prototype"])
def test_image_embeddings_do_not_exist_in_context_space(name):
    with pytest.raises(ValueError, match="joint space only"):
        EmbeddingSource(name, "context")


def test_prototypes(image, text):
    groups = [image[:2], image[2:]]
    table = prototype_table(groups)
    torch.testing.assert_close(table.norm(dim=1), torch.ones(2))
    one = EmbeddingSource("prototype", "joint", prototypes=table[:1])(image, text)[0]
    torch.testing.assert_close(one, table[:1].expand(4, -1))
    sharp = EmbeddingSource("prototype", "joint", 1e-4, prototypes=table)(image, text)[0]
    torch.testing.assert_close(sharp, table[(image @ table.T).argmax(1)])
    with pytest.raises(ValueError, match="at least one example"):
        prototype_table([image[:0]])
    with pytest.raises(ValueError, match="without prototypes"):
        EmbeddingSource("prototype", "joint")
    with pytest.raises(ValueError, match="with prototypes"):
        EmbeddingSource("soft", "joint", prototypes=table)


def test_random_depends_on_the_name_alone_and_keeps_the_norm(text):
    table = random_table(KEYS, text.context)
    torch.testing.assert_close(table.norm(dim=1), text.context.norm(dim=1))
    swapped = random_table(KEYS[::-1], text.context)
    torch.testing.assert_close(swapped[0], table[2])
    # Frozen: a change would silently make other controls of published results.
    first = random_table(("fog",), torch.ones(1, 4))
    expected = torch.tensor([[0.645277, 0.128493, -1.546001, 1.084891]])
    torch.testing.assert_close(first, expected, atol=1e-5, rtol=0)


def test_learned_gives_one_hot_weights(image, text):
    weights, scores = EmbeddingSource("learned", "context")(image, text)
    assert torch.equal(weights, F.one_hot(scores.argmax(1), 3).float())
    soft, scores = EmbeddingSource("learned", "context", assign="soft")(image, text)
    torch.testing.assert_close(soft, scores)


def test_oracle_takes_the_true_condition(image, text):
    true = ["night", "day", "fog", "day"]
    embedding, scores = EmbeddingSource("oracle", "context")(image, text, true)
    assert torch.equal(embedding, text.context[[2, 0, 1, 0]])
    # The scores stay the encoder's own: they are what is to be judged.
    torch.testing.assert_close(scores, EmbeddingSource("soft", "context")(image, text)[1])
    control, _ = EmbeddingSource("random", "context", assign="oracle")(image, text, true)
    assert torch.equal(control, random_table(KEYS, text.context)[[2, 0, 1, 0]])


def test_oracle_needs_a_known_condition(image, text):
    oracle = EmbeddingSource("oracle", "context")
    with pytest.raises(ValueError, match="SetDomain"):
        oracle(image[:1], text, [None])
    with pytest.raises(ValueError, match="SetDomain"):
        oracle(image[:1], text)
    with pytest.raises(ValueError, match=r"'dusk' is not a domain of the prompt bank.*day, fog"):
        oracle(image[:1], text, ["dusk"])


def test_null_is_zero_and_as_wide_as_the_space(image, text):
    assert torch.equal(EmbeddingSource("null", "context")(image, text)[0], torch.zeros(4, 6))
    assert torch.equal(EmbeddingSource("null", "joint")(image, text)[0], torch.zeros(4, 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mean", "joint"), "argmax, soft"),
        (("soft", "both"), "joint, context"),
        (("soft", "joint", -1.0), "positive"),
        (("random", "joint", None, "best"), "assign must be one of"),
        (("soft", "joint", None, "oracle"), "already says"),
    ],
)
def test_unknown_arguments_list_the_known(arguments, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingSource(*arguments)


def test_every_source_is_documented_with_its_question():
    assert all("?" in question or name == "null" for name, question in SOURCES.items())


def _perturb(embedding, table, seed=0, **options):
    options = {"noise": 0.0, "mix": 0.0, "drop": 0.0} | options
    return perturb_embedding(embedding, table, rng=np.random.RandomState(seed), **options)


def test_perturbation_by_nothing_changes_nothing(text):
    assert torch.equal(_perturb(text.context[0], text.context), text.context[0])


def test_noise_has_the_relative_length_asked_for():
    embedding, table = torch.full((4096,), 3.0), torch.zeros(2, 4096)
    noise = _perturb(embedding, table, noise=0.25) - embedding
    assert noise.norm() / embedding.norm() == pytest.approx(0.25, rel=0.05)


def test_mixing_stays_between_two_domains_and_within_the_share(text):
    start, shares = text.context[0], []
    for seed in range(200):
        moved = _perturb(start, text.context, seed, mix=0.5) - start
        share = [
            float(moved @ (other - start) / (other - start).norm() ** 2)
            for other in text.context[1:]
            if F.cosine_similarity(moved, other - start, dim=0) > 0.9999
        ]
        shares += share or [0.0]
    assert max(shares) <= 0.5
    assert max(shares) > 0.45
    # A third of the draws name the image's own domain, which changes nothing.
    assert 0.2 < np.mean(np.array(shares) == 0) < 0.5


def test_drop_has_its_probability_and_disturbs_no_other_draw(text):
    start = text.context[0]
    results = [_perturb(start, text.context, s, noise=0.1, drop=0.3) for s in range(300)]
    zero = [not r.any() for r in results]
    assert 0.2 < np.mean(zero) < 0.4
    kept = zero.index(False)
    assert torch.equal(results[kept], _perturb(start, text.context, kept, noise=0.1))


def test_text_is_checked():
    with pytest.raises(ValueError, match="must have the shape"):
        DomainText(KEYS, torch.zeros(2, 4), torch.zeros(3, 4), 1.0)
    with pytest.raises(ValueError, match="NaN"):
        DomainText(KEYS, torch.zeros(3, 4), torch.full((3, 4), torch.nan), 1.0)
