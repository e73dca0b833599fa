"""What a generator is asked for: a domain's prompt and a caption of the image's true classes."""

import hashlib
from collections.abc import Sequence

import numpy as np

from ..domain import PromptBank

NEGATIVE_PROMPT = (
    "cartoon, painting, drawing, render, blurry, distorted, deformed, duplicate, text, watermark, "
    "frame, low quality"
)


def image_seed(seed: int, name: str, domain: str, index: int = 0) -> int:
    """The seed of one image: the same on every machine and in every order of work."""
    digest = hashlib.sha256(f"{seed}\n{name}\n{domain}\n{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11


def caption_classes(
    label: np.ndarray, classes: Sequence[str], min_share: float = 0.002, max_classes: int = 8
) -> list[str]:
    """Names of the classes that a label map shows, the largest first.

    Args:
        label: ``(H, W)`` class numbers; others are ignored.
        classes: Class names.
        min_share: Of the image's area, below which a class is left out.
        max_classes: At most so many: the text encoder reads 77 tokens.
    """
    counts = np.bincount(label.ravel(), minlength=256)[: len(classes)]
    order = np.argsort(-counts, kind="stable")[:max_classes]
    return [classes[i] for i in order if counts[i] and counts[i] >= min_share * label.size]


def make_prompt(bank: PromptBank, domain: str, names: Sequence[str], seed: int) -> str:
    """One of the domain's prompts, chosen by the seed, and what is to be seen.

    Example:
        >>> make_prompt(load_prompt_bank("acdc"), "fog", ["road", "car", "sky"], 3)
        'a photo of a street in fog, with road, car and sky'
    """
    prompts = bank.domains[bank.keys.index(domain)].prompts
    prompt = prompts[seed % len(prompts)]
    if not names:
        return prompt
    listed = " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
    return f"{prompt}, with {listed}"


def check_domains(bank: PromptBank, domains: Sequence[str]) -> None:
    """Refuse domains that the bank does not have, and repeated ones.

    Raises:
        ValueError: Lists those that it has.
    """
    unknown = [domain for domain in domains if domain not in bank.keys]
    if unknown or not domains or len(set(domains)) < len(domains):
        raise ValueError(
            f"domains must be some of the prompt bank {bank.name!r}: {', '.join(bank.keys)}, each "
            f"once; got {', '.join(domains) or 'none'}"
        )
