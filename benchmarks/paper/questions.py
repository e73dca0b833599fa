"""The paper's questions at miniature size, and its claims as comparisons to be decided.

Nothing here knows an outcome: a claim names what should be better than what, and
:func:`~mmseg_domino.experiments.statistics.verdict` decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: Set and name of a config; also the folder of its runs.
Key = tuple[str, str]

DOMINO: Key = ("injection", "subtract_both")
SOURCE_ONLY: Key = ("injection", "none")
#: What the headline compares has more seeds than the rest.
HEADLINE_SEEDS = 5


@dataclass(frozen=True)
class Question:
    """Conditions that are compared, some of them shared with other questions.

    Attributes:
        key: Short name, of files.
        title: As a heading.
        text: What is asked, and what is held the same.
        conditions: Config by label, in the order of the table.
    """

    key: str
    title: str
    text: str
    conditions: Mapping[str, Key] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """``better`` is better than each of ``than``.

    Attributes:
        text: The claim.
        origin: ``"paper"``, or ``"control"``: what the claims rest on.
        better: Config.
        than: One or several configs; the claim holds if it holds against each.
    """

    text: str
    origin: str
    better: Key
    than: Sequence[Key]


QUESTIONS: tuple[Question, ...] = (
    Question(
        "headline",
        "Source only against Domino",
        "The same network on the same clear days, without and with the domain embedding "
        "(subtracted, in norms and cross-attention).",
        {"source only": SOURCE_ONLY, "Domino": DOMINO},
    ),
    Question(
        "injection",
        "Add, subtract or concat; norm, cross-attention or both",
        "Where and how the embedding enters. The norms have no concat.",
        {
            "none": SOURCE_ONLY,
            "add, cross-attention": ("injection", "add_attention"),
            "subtract, cross-attention": ("injection", "subtract_attention"),
            "concat, cross-attention": ("injection", "concat_attention"),
            "add, norm": ("injection", "add_norm"),
            "subtract, norm": ("injection", "subtract_norm"),
            "add, both": ("injection", "add_both"),
            "subtract, both": DOMINO,
        },
    ),
    Question(
        "embedding",
        "What the embedding is made of",
        "CLIP's soft scores over the texts, against a random vector a domain, the true condition, "
        "and a trained table.",
        {
            "soft (Domino)": DOMINO,
            "random": ("embedding", "random"),
            "oracle": ("embedding", "oracle"),
            "learned": ("embedding", "learned"),
        },
    ),
    Question(
        "backbones",
        "Backbones",
        "Under the same domain-adaptive neck and head, with the same iterations.",
        {
            "random CNN": ("backbones", "random-cnn"),
            "mini-CLIP": ("backbones", "mini-clip"),
            "mini-SD, random weights": ("backbones", "mini-sd-random"),
            "mini-SD": DOMINO,
        },
    ),
    Question(
        "adapters",
        "Adapters, without and with Domino",
        "The mini-SD trained whole, and frozen under LoRA, Rein and SoMA: each without the domain "
        "embedding, and with it.",
        {
            "whole": SOURCE_ONLY,
            "whole, Domino": DOMINO,
            "LoRA": ("adapters", "plain_lora"),
            "LoRA, Domino": ("adapters", "domino_lora"),
            "Rein": ("adapters", "plain_rein"),
            "Rein, Domino": ("adapters", "domino_rein"),
            "SoMA": ("adapters", "plain_soma"),
            "SoMA, Domino": ("adapters", "domino_soma"),
        },
    ),
    Question(
        "ratio",
        "Real to synthetic",
        "Images of fog, night, rain and snow made from the training labels, mixed in; as many "
        "samples in all.",
        {
            "1:0": DOMINO,
            "4:1": ("ratio", "4to1"),
            "4:1, no embedding": ("ratio", "none_4to1"),
            "2:1": ("ratio", "2to1"),
            "1:1": ("ratio", "1to1"),
        },
    ),
)

_RATIO = dict(QUESTIONS[-1].conditions)
CLAIMS: tuple[Claim, ...] = (
    Claim("Domino is better than source only.", "paper", DOMINO, (SOURCE_ONLY,)),
    Claim(
        "Subtracting is better than adding, in cross-attention.", "paper",
        ("injection", "subtract_attention"), (("injection", "add_attention"),),
    ),
    Claim(
        "Subtracting is better than adding, in norms and cross-attention.", "paper",
        DOMINO, (("injection", "add_both"),),
    ),
    Claim(
        "Subtracting is better than one more token.", "paper",
        ("injection", "subtract_attention"), (("injection", "concat_attention"),),
    ),
    Claim(
        "Both places are better than either alone.", "paper",
        DOMINO, (("injection", "subtract_norm"), ("injection", "subtract_attention")),
    ),
    Claim(
        "A pretrained diffusion backbone is better than a CNN from scratch.", "paper",
        DOMINO, (("backbones", "random-cnn"),),
    ),
    Claim(
        "A pretrained diffusion backbone is better than CLIP's image tower.", "paper",
        DOMINO, (("backbones", "mini-clip"),),
    ),
    Claim("4:1 is better than real images alone.", "paper", _RATIO["4:1"], (_RATIO["1:0"],)),
    Claim(
        "4:1 is better than more synthetic images (2:1, 1:1).", "paper",
        _RATIO["4:1"], (_RATIO["2:1"], _RATIO["1:1"]),
    ),
    Claim(
        "Domino is better than no embedding where training has all domains (4:1).", "control",
        _RATIO["4:1"], (_RATIO["4:1, no embedding"],),
    ),
    Claim(
        "The diffusion backbone is better for its pretraining.", "control",
        DOMINO, (("backbones", "mini-sd-random"),),
    ),
    Claim(
        "CLIP's text is better than a random vector a domain.", "control",
        DOMINO, (("embedding", "random"),),
    ),
    Claim(
        "CLIP's text is better than a trained table.", "control",
        DOMINO, (("embedding", "learned"),),
    ),
    Claim(
        "Knowing the true condition is better than asking CLIP.", "control",
        ("embedding", "oracle"), (DOMINO,),
    ),
)  # fmt: skip
