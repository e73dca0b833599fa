"""Which sample comes n-th: pure functions of a seed and a number, so that any stream can be entered
anywhere.

A *source* of a mixture (the real images, the synthetic ones) is drawn from by a :class:`Draws`
object; :class:`MixtureStream` says which source each position of the stream belongs to.

Letters: ``S`` sources, ``P`` period of a ratio (the sum of its terms), ``W`` processes, ``M``
images of a source, ``N`` classes.
"""

import bisect
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np


def parse_ratio(ratio: str | Sequence[int]) -> tuple[int, ...]:
    """The terms of a ratio in lowest terms: ``'8:2'`` is ``(4, 1)``.

    Args:
        ratio: Two or more whole numbers joined by ``:``, or a sequence of them. A term may be 0
            (nothing is drawn from that source), but not all.
    """
    terms = ratio.split(":") if isinstance(ratio, str) else list(ratio)
    try:
        numbers = [int(str(term)) for term in terms]
    except ValueError:
        numbers = []
    if len(numbers) < 2 or min(numbers) < 0 or not any(numbers):
        raise ValueError(
            "a ratio is two or more whole numbers, not all of them 0, such as '4:1' "
            f"(real:synthetic); got {ratio!r}"
        )
    divisor = math.gcd(*numbers)
    return tuple(number // divisor for number in numbers)


def spread(terms: Sequence[int]) -> np.ndarray:
    """One period of a ratio, each source spread as evenly as whole slots allow.

    Returns:
        ``(P,)`` source numbers; source ``s`` occurs ``terms[s]`` times.
    """
    period, given = sum(terms), np.zeros(len(terms))
    due = np.asarray(terms) / period
    slots = np.empty(period, np.int64)
    for slot in range(period):
        # The source furthest behind its share comes next.
        slots[slot] = source = int(np.argmax(due * (slot + 1) - given))
        given[source] += 1
    return slots


def arrange_sources(terms: Sequence[int], world_size: int) -> np.ndarray:
    """Sources of ``W * P`` consecutive positions of the stream that all processes share.

    Position ``u`` belongs to process ``u % W``. The sequence repeats for ever.

    Every process's own stream has the exact ratio in *every* window of ``P`` samples. The common
    stream has it too, in every window of ``P``, if ``W`` and ``P`` have no common divisor (4:1 on
    1, 2, 3, 4, 8, 16 ... processes). If they have one, both at once is impossible: with ``W = P``
    it would mean that each process sees a single source. Then the common stream is exact in each
    block of ``lcm(W, P)`` samples counted from the start.
    """
    slots, period = spread(terms), sum(terms)
    common = math.gcd(world_size, period)
    position = np.arange(world_size * period)
    # Without the shift, a process would visit only the slots that are congruent to its rank.
    shift = position // math.lcm(world_size, period) % common
    return slots[(position + shift) % period]


class Draws(Protocol):
    """An endless sequence of sample numbers with random access."""

    def draw(self, number: int) -> int:
        """The sample that the ``number``-th draw (from 0) gives."""


class OrderedDraws:
    """All samples in their order, over and over."""

    def __init__(self, samples: Sequence[int]) -> None:
        self.samples = np.asarray(samples, np.int64)

    def draw(self, number: int) -> int:
        return int(self.samples[number % len(self.samples)])


class ShuffledDraws:
    """All samples in random order, none again before all have come; a new order each pass."""

    def __init__(self, samples: Sequence[int], key: tuple[int, ...]) -> None:
        self.samples = np.asarray(samples, np.int64)
        self.key = key
        self._pass, self._order = -1, self.samples

    def draw(self, number: int) -> int:
        turn, place = divmod(number, len(self.samples))
        if turn != self._pass:
            order = np.random.default_rng((*self.key, turn)).permutation(len(self.samples))
            self._pass, self._order = turn, self.samples[order]
        return int(self._order[place])


class BalancedDraws:
    """Takes turns between parts (domains), each of which comes once in every round."""

    def __init__(self, parts: Sequence[Draws], key: tuple[int, ...]) -> None:
        self.parts = list(parts)
        self._turns = ShuffledDraws(range(len(self.parts)), key)

    def draw(self, number: int) -> int:
        # In round r each part gives its r-th sample.
        return self.parts[self._turns.draw(number)].draw(number // len(self.parts))


def class_probabilities(pixels: np.ndarray, temperature: float) -> np.ndarray:
    """How often rare-class sampling asks for each class: softmax of (1 - frequency) / temperature.

    Args:
        pixels: ``(N,)`` pixels of each class over the data set.
        temperature: Above 0. The lower, the more the rarest class is preferred.

    Returns:
        ``(N,)`` probabilities; 0 for classes that do not occur.

    Source: Hoyer et al., DAFormer, CVPR 2022, equation 6 (there with temperature 0.01).
    """
    pixels = np.asarray(pixels, np.float64)
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if not pixels.any():
        raise ValueError("no pixel of any class: rare classes cannot be sampled")
    logits = np.where(pixels > 0, (1 - pixels / pixels.sum()) / temperature, -np.inf)
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


class RareClassDraws:
    """Draws a class, the rarer the likelier, then an image that shows enough of it.

    Args:
        samples: ``M`` sample numbers.
        pixels: ``(M, N)`` pixels of each class in each of them.
        key: Determines the draws.
        temperature: See :func:`class_probabilities`.
        min_pixels: Pixels of a class that make an image count as showing it. A class of which no
            image shows as much uses all images in which it occurs.
    """

    def __init__(
        self,
        samples: Sequence[int],
        pixels: np.ndarray,
        key: tuple[int, ...],
        temperature: float = 0.01,
        min_pixels: int = 3000,
    ) -> None:
        self.samples, self.key = np.asarray(samples, np.int64), key
        self.probabilities = class_probabilities(pixels.sum(0), temperature)
        self._shown = []
        for column in pixels.T:
            enough = np.flatnonzero(column >= max(min_pixels, 1))
            self._shown.append(enough if len(enough) else np.flatnonzero(column))

    def draw(self, number: int) -> int:
        random = np.random.default_rng((*self.key, number))
        shown = self._shown[random.choice(len(self.probabilities), p=self.probabilities)]
        return int(self.samples[random.choice(shown)])


class _Segment:
    """A stretch of the stream with one ratio."""

    def __init__(self, begin: int, terms: Sequence[int], world_size: int, before: np.ndarray):
        self.begin, self.before = begin, before
        self.sources = arrange_sources(terms, world_size)
        hits = self.sources[:, None] == np.arange(len(terms))
        # How often each source has come before each position, and in all.
        self.counts = np.concatenate([np.zeros((1, len(terms)), np.int64), hits.cumsum(0)])

    def drawn(self, position: int) -> np.ndarray:
        """How often each source has been drawn from before a position of the stream, (S,)."""
        rounds, place = divmod(position - self.begin, len(self.sources))
        return self.before + rounds * self.counts[-1] + self.counts[place]

    def source(self, position: int) -> int:
        return int(self.sources[(position - self.begin) % len(self.sources)])


class MixtureStream:
    """The endless sequence of samples that all processes share; indexing gives the u-th.

    Args:
        sources: ``S`` sequences to draw from.
        schedule: Pairs of a position (samples of all processes together) and the ``S`` terms of
            the ratio that holds from there on; the first position is 0.
        world_size: Number of processes ``W``; position ``u`` belongs to process ``u % W``.
    """

    def __init__(
        self,
        sources: Sequence[Draws],
        schedule: Sequence[tuple[int, Sequence[int]]],
        world_size: int = 1,
    ) -> None:
        self.sources = list(sources)
        self._segments: list[_Segment] = []
        before = np.zeros(len(self.sources), np.int64)
        for begin, terms in schedule:
            if self._segments:
                before = self._segments[-1].drawn(begin)
            self._segments.append(_Segment(begin, terms, world_size, before))
        self._begins = [segment.begin for segment in self._segments]

    def source(self, position: int) -> int:
        """The source that a position is drawn from."""
        return self._segment(position).source(position)

    def __getitem__(self, position: int) -> int:
        segment = self._segment(position)
        source = segment.source(position)
        return self.sources[source].draw(int(segment.drawn(position)[source]))

    def _segment(self, position: int) -> _Segment:
        return self._segments[bisect.bisect_right(self._begins, position) - 1]
