"""The paper's questions at miniature size, and its claims as comparisons to be decided.

Nothing here knows an outcome: a claim names what should be better than what, and
:func:`~mmseg_domino.experiments.statistics.verdict` decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: Set and name of a config; also the folder of its runs.
Key = tuple[str, str]

#: The design that was chosen: the flagship's. Plain VPD sees the same training images.
DOMINO: Key = ("conditioning", "neck-soft")
PLAIN: Key = ("conditioning", "plain")
#: What the headline compares has more seeds than the rest.
HEADLINE_SEEDS = 5
#: Of the confirmation: no design was chosen on them.
CONFIRMING_SEEDS = (10, 11, 12, 13, 14)


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
        "Plain VPD against Domino",
        "The same network on the same training images, half of them in weather by rule: without an "
        "embedding, and with a norm between features and FPN that is conditioned on the domains' "
        "texts, weighted by CLIP's scores.",
        {"plain VPD": PLAIN, "Domino": DOMINO},
    ),
    Question(
        "norms",
        "Which norms, and by what embedding",
        "The UNet's own norms, a norm between features and FPN, or both; by CLIP's image embedding "
        "or the domains' texts weighted by their scores, in the space that images and texts share "
        "or in that of cross-attention.",
        {
            "plain VPD": PLAIN,
            "neck, no embedding": ("conditioning", "neck-none"),
            "UNet, image": ("conditioning", "unet-image"),
            "UNet, image, drop": ("conditioning", "unet-image-drop"),
            "neck, image": ("conditioning", "neck-image"),
            "UNet and neck, image": ("conditioning", "both-image"),
            "UNet, text": ("conditioning", "unet-soft"),
            "UNet, text, drop": ("conditioning", "unet-soft-drop"),
            "UNet, text, context space": ("conditioning", "unet-soft-context"),
            "UNet, text, centred": ("conditioning", "unet-soft-centred"),
            "UNet, text, clear day forced": ("conditioning", "unet-soft-forced"),
            "neck, text (Domino)": DOMINO,
            "UNet and neck, text": ("conditioning", "both-soft"),
        },
    ),
    Question(
        "attention",
        "Cross-attention: one vector, or one a class",
        "The text of the domain subtracted from all class tokens, which changes no attention map, "
        "or of each class in that domain from its own; through a gate that starts at zero.",
        {
            "plain VPD": PLAIN,
            "one vector": ("conditioning", "attention"),
            "one vector, centred": ("conditioning", "attention-centred"),
            "one a class": ("conditioning", "classwise"),
            "one a class, centred": ("conditioning", "classwise-centred"),
        },
    ),
    Question(
        "weather",
        "Whether training sees domains",
        "Clear days alone, against half of them in weather by rule.",
        {
            "plain VPD, clear days": ("conditioning", "plain-clear"),
            "plain VPD, weather": PLAIN,
            "UNet, image, clear days": ("conditioning", "unet-image-clear"),
            "UNet, image, weather": ("conditioning", "unet-image"),
            "UNet, text, clear days": ("conditioning", "unet-soft-clear"),
            "UNet, text, weather": ("conditioning", "unet-soft"),
        },
    ),
    Question(
        "injection",
        "Add, subtract or concat; norm, cross-attention or both",
        "Where and how the embedding enters. The norms have no concat.",
        {
            "none": PLAIN,
            "add, cross-attention": ("injection", "add_attention"),
            "subtract, cross-attention": ("injection", "subtract_attention"),
            "subtract, cross-attention, no gate": ("injection", "subtract_attention-ungated"),
            "concat, cross-attention": ("injection", "concat_attention"),
            "add, norm": ("injection", "add_norm"),
            "subtract, norm (Domino)": DOMINO,
            "add, both": ("injection", "add_both"),
            "subtract, both": ("injection", "subtract_both"),
        },
    ),
    Question(
        "embedding",
        "What the embedding is made of",
        "CLIP's soft scores over the texts and its image embedding, against a random vector a "
        "domain, the true condition, and a trained table.",
        {
            "soft (Domino)": DOMINO,
            "image": ("conditioning", "neck-image"),
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
            "whole": PLAIN,
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
            "1:0": ("ratio", "1to0"),
            "4:1": ("ratio", "4to1"),
            "4:1, no embedding": ("ratio", "none_4to1"),
            "2:1": ("ratio", "2to1"),
            "1:1": ("ratio", "1to1"),
        },
    ),
)

_RATIO = dict(QUESTIONS[-1].conditions)
_BETTER = Claim(
    "Domino is better than plain VPD trained on the same images.", "paper", DOMINO, (PLAIN,)
)
#: What the confirmation decides, on seeds and a world of its own.
CONFIRMING_CLAIMS: tuple[Claim, ...] = (_BETTER,)
CLAIMS: tuple[Claim, ...] = (
    _BETTER,
    Claim(
        "Training that sees weather by rule is better than clear days alone.", "control",
        PLAIN, (("conditioning", "plain-clear"),),
    ),
    Claim(
        "The embedding is better than the same norm without one.", "control",
        DOMINO, (("conditioning", "neck-none"),),
    ),
    Claim(
        "A norm in the neck is a better place than the UNet's norms, or both.", "control",
        DOMINO, (("conditioning", "unet-soft"), ("conditioning", "both-soft")),
    ),
    Claim(
        "The domains' texts are better than CLIP's image embedding.", "control",
        DOMINO, (("conditioning", "neck-image"),),
    ),
    Claim(
        "The space of images and texts suits norms better than that of cross-attention.", "control",
        ("conditioning", "unet-soft"), (("conditioning", "unet-soft-context"),),
    ),
    Claim(
        "Leaving the embedding out now and then makes it better.", "control",
        ("conditioning", "unet-image-drop"), (("conditioning", "unet-image"),),
    ),
    Claim(
        "Knowing the domain is better than taking every image for a clear day.", "control",
        ("conditioning", "unet-soft"), (("conditioning", "unet-soft-forced"),),
    ),
    Claim(
        "A displacement a class is better than plain VPD, and than one vector.", "control",
        ("conditioning", "classwise"), (PLAIN, ("conditioning", "attention")),
    ),
    Claim(
        "A reference point is better than none, in cross-attention.", "control",
        ("conditioning", "attention-centred"), (("conditioning", "attention"),),
    ),
    Claim(
        "Subtracting is better than adding, in cross-attention.", "paper",
        ("injection", "subtract_attention"), (("injection", "add_attention"),),
    ),
    Claim(
        "Subtracting is better than adding, in norms and cross-attention.", "paper",
        ("injection", "subtract_both"), (("injection", "add_both"),),
    ),
    Claim(
        "Subtracting is better than one more token.", "paper",
        ("injection", "subtract_attention"), (("injection", "concat_attention"),),
    ),
    Claim(
        "Both places are better than either alone.", "paper",
        ("injection", "subtract_both"),
        (DOMINO, ("injection", "subtract_attention")),
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
