"""The byte-pair vocabulary of the miniature text tower.

CLIP's own vocabulary has 49,408 entries, which at the miniature's width would be more than all
its other weights together. This one has about a thousand and is stored in CLIP's file format
(``vocab.json``, ``merges.txt``), so ``transformers.CLIPTokenizer``, diffusers and open_clip read
it like the original. All 256 bytes are in it: any text can be tokenised, common street words in
one token, rare ones in several.

Token numbers follow CLIP's order (bytes, bytes that end a word, merges, start, end), so the
end-of-text token has the highest number, by which both open_clip and ``transformers`` find it.
"""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import regex

from street_world.files import atomic_write

START, END = "<|startoftext|>", "<|endoftext|>"
TOKENIZER_FOLDER = Path(__file__).parent / "weights" / "tokenizer"

# What separates words in CLIP: contractions, runs of letters, single digits, runs of symbols.
_WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")


def byte_symbols() -> dict[int, str]:
    """The printable character that stands for each byte in GPT-2's and CLIP's vocabularies."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    symbols = {byte: chr(byte) for byte in printable}
    symbols |= {byte: chr(256 + index) for index, byte in enumerate(hidden)}
    return symbols


def train_vocabulary(texts: Iterable[str], num_merges: int) -> tuple[list[str], list[str]]:
    """Learn byte-pair merges; ties go to the pair that sorts first, so the result is unique.

    Args:
        texts: The corpus.
        num_merges: Number of merges at most; fewer if every word is one token before.

    Returns:
        The tokens in the order of their numbers, and the merges in the order of their rank.
    """
    symbols = byte_symbols()
    counts = Counter(word for text in texts for word in _WORDS.findall(text.lower()))
    words = {}
    for word, count in counts.items():
        letters = [symbols[byte] for byte in word.encode()]
        words[(*letters[:-1], letters[-1] + "</w>")] = count
    merges: list[tuple[str, str]] = []
    for _ in range(num_merges):
        pairs = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {_merge(word, best): count for word, count in words.items()}
    # CLIP's order of the bytes: the printable ones first.
    base = list(symbols.values())
    tokens = [*base, *(symbol + "</w>" for symbol in base), *("".join(pair) for pair in merges)]
    return [*tokens, START, END], [" ".join(pair) for pair in merges]


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged, index = [], 0
    while index < len(word):
        if word[index : index + 2] == pair:
            merged.append(word[index] + word[index + 1])
            index += 2
        else:
            merged.append(word[index])
            index += 1
    return tuple(merged)


def write_vocabulary(folder: Path, texts: Iterable[str], num_merges: int = 1000) -> None:
    """Train a vocabulary and write it as ``vocab.json`` and ``merges.txt`` into ``folder``."""
    tokens, merges = train_vocabulary(texts, num_merges)
    with atomic_write(folder / "vocab.json") as path:
        path.write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    with atomic_write(folder / "merges.txt") as path:
        path.write_text("\n".join(["#version: 0.2", *merges]) + "\n")
