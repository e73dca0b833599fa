import itertools
import math
from collections import Counter

import numpy as np
import pytest

from mmseg_domino.datasets.draws import (
    BalancedDraws,
    MixtureStream,
    OrderedDraws,
    RareClassDraws,
    ShuffledDraws,
    arrange_sources,
    class_probabilities,
    parse_ratio,
    spread,
)


def windows(sources, length):
    return [Counter(sources[i : i + length]) for i in range(len(sources) - length + 1)]


@pytest.mark.parametrize(
    ("ratio", "terms"), [("4:1", (4, 1)), ("8:2", (4, 1)), ("1:0", (1, 0)), ((2, 2, 6), (1, 1, 3))]
)
def test_a_ratio_in_lowest_terms(ratio, terms):
    assert parse_ratio(ratio) == terms


@pytest.mark.parametrize("ratio", ["4", "", "4:x", "0:0", "-1:2", "1.5:1", (3,)])
def test_a_bad_ratio_is_refused(ratio):
    with pytest.raises(ValueError, match="whole numbers"):
        parse_ratio(ratio)


def test_slots_are_spread_evenly():
    assert Counter(spread((4, 1)).tolist()) == {0: 4, 1: 1}
    assert spread((1, 1)).tolist() in ([0, 1], [1, 0])
    # 3:2 never has more than two of the first in a row, even from one period to the next.
    slots = "".join(map(str, spread((3, 2)).tolist())) * 2
    assert "000" not in slots
    assert "11" not in slots


@pytest.mark.parametrize("world_size", range(1, 17))
@pytest.mark.parametrize("terms", [(4, 1), (3, 1), (1, 1), (2, 3, 1), (1, 0), (7, 5)])
def test_every_process_has_the_ratio_in_every_window(terms, world_size):
    period = sum(terms)
    wanted = Counter({s: n for s, n in enumerate(terms) if n})
    sources = np.tile(arrange_sources(terms, world_size), 3).tolist()
    for rank in range(world_size):
        assert all(window == wanted for window in windows(sources[rank::world_size], period))
    block = math.lcm(world_size, period)
    together = Counter({s: n * block // period for s, n in wanted.items()})
    if math.gcd(world_size, period) == 1:
        assert all(window == wanted for window in windows(sources, period))
    else:
        starts = range(0, len(sources) - block + 1, block)
        assert all(Counter(sources[i : i + block]) == together for i in starts)


def test_shuffled_draws_show_all_before_any_comes_again_in_another_order():
    draws = ShuffledDraws(range(10, 17), key=(0, 1))
    passes = [[draws.draw(n) for n in range(7 * p, 7 * p + 7)] for p in range(3)]
    assert all(sorted(one) == list(range(10, 17)) for one in passes)
    assert passes[0] != passes[1]
    assert draws.draw(3) == passes[0][3]  # an earlier pass can be entered again
    assert [ShuffledDraws(range(10, 17), (0, 2)).draw(n) for n in range(7)] != passes[0]


def test_balanced_draws_give_each_part_once_a_round():
    parts = [OrderedDraws([0]), OrderedDraws([1, 2]), ShuffledDraws(range(3, 50), (5,))]
    draws = BalancedDraws(parts, key=(1,))
    drawn = [draws.draw(n) for n in range(30)]
    for begin in range(0, 30, 3):
        kinds = {min(2, (sample + 1) // 2) for sample in drawn[begin : begin + 3]}
        assert kinds == {0, 1, 2}
    assert [s for s in drawn if s in (1, 2)] == [1, 2] * 5


def test_class_probabilities_are_the_softmax_of_rarity():
    pixels = np.array([700, 200, 100, 0])
    expected = np.exp((1 - pixels[:3] / 1000) / 0.5)
    got = class_probabilities(pixels, 0.5)
    assert got[:3] == pytest.approx(expected / expected.sum())
    assert got[3] == 0
    with pytest.raises(ValueError, match="temperature"):
        class_probabilities(pixels, 0.0)
    with pytest.raises(ValueError, match="no pixel"):
        class_probabilities(pixels * 0, 0.5)


def test_rare_class_draws_follow_the_probabilities():
    # Image 10 has the common class alone, 11 a little of the rare one, 12 enough of it.
    pixels = np.array([[9000, 0], [9000, 10], [4000, 1000]])
    draws = RareClassDraws([10, 11, 12], pixels, (3,), temperature=0.5, min_pixels=500)
    counts = Counter(draws.draw(n) for n in range(4000))
    common, rare = class_probabilities(pixels.sum(0), 0.5)
    for image, share in {10: common / 3, 11: common / 3, 12: common / 3 + rare}.items():
        assert counts[image] / 4000 == pytest.approx(share, abs=0.03)


def test_a_class_that_no_image_shows_enough_of_uses_those_that_have_any():
    pixels = np.array([[9000, 0], [9000, 10]])
    draws = RareClassDraws([0, 1], pixels, (3,), temperature=1e-3, min_pixels=500)
    assert {draws.draw(n) for n in range(50)} == {1}


def test_a_stream_draws_each_source_in_its_own_order_whatever_the_sizes():
    stream = MixtureStream([ShuffledDraws(range(3), (0,)), OrderedDraws([3, 4])], [(0, (4, 1))])
    drawn = [stream[u] for u in range(100)]
    real = [s for s in drawn if s < 3]
    assert [s for s in drawn if s >= 3] == [3, 4] * 10
    assert all(set(real[i : i + 3]) == {0, 1, 2} for i in range(0, 78, 3))


def test_a_schedule_changes_the_ratio_where_it_says_and_goes_on_in_each_source():
    stream = MixtureStream(
        [OrderedDraws(range(1000)), OrderedDraws(range(1000, 2000))],
        [(0, (1, 0)), (7, (4, 1)), (23, (1, 1))],
        world_size=3,
    )
    drawn = [stream[u] for u in range(60)]
    assert drawn[:7] == list(range(7))
    assert Counter(s >= 1000 for s in drawn[7:22]) == {False: 12, True: 3}
    assert Counter(s >= 1000 for s in drawn[24:60]) == {False: 18, True: 18}
    for source in (0, 1):
        mine = [s % 1000 for s in drawn if s // 1000 == source]
        assert mine == list(range(len(mine)))  # nothing left out or twice at the changes


def test_positions_may_be_read_in_any_order():
    def make():
        return MixtureStream([ShuffledDraws(range(5), (1,)), ShuffledDraws(range(5, 8), (2,))],
                             [(0, (4, 1)), (31, (2, 1))], 2)  # fmt: skip

    straight = [make()[u] for u in range(80)]
    stream = make()
    order = list(itertools.chain(range(79, -1, -7), range(80)))
    assert all(stream[u] == straight[u] for u in order)
