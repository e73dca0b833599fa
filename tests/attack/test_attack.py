"""No damaged input gives a wrong number, runs code, writes outside or fails without its name."""

from collections import Counter
from pathlib import Path

import pytest

from .damage import flips
from .judge import Target, attack
from .run import run_attack


@pytest.mark.slow
def test_no_damaged_input_is_a_fault(tmp_path):
    outcomes = [o for _, found in run_attack(tmp_path) for o in found]
    assert len(outcomes) >= 405
    assert [o for o in outcomes if o.is_fault] == []
    verdicts = Counter(o.verdict for o in outcomes)
    assert verdicts["right"] > 20  # not everything is simply refused
    assert verdicts["refused"] > 200


def careless(case: Path) -> object:
    text = (case / "a.txt").read_text(errors="replace")
    if text == "outside":
        (case.parent / "neighbour.png").write_text("changed")
    if text == "crash":
        import os

        os.abort()
    if text == "unnamed":
        raise ValueError("something is wrong")
    if text == "accident":
        raise AttributeError("a.txt: 'NoneType' object has no attribute 'x'")
    if text == "named":
        raise ValueError("a.txt is damaged")
    return text.strip()


def test_the_judge_sees_each_kind_of_fault(tmp_path):
    folder = tmp_path / "pristine"
    folder.mkdir()
    (folder / "a.txt").write_text("7")
    wanted = {
        "outside": "code run or file written outside", "crash": "crash", "accident":
        "error that is an accident", "unnamed": "error without the file's name",
        "named": "refused", " 7\n": "right", "8": "wrong number",
    }  # fmt: skip
    damages = [(text, lambda path, text=text: path.write_text(text)) for text in wanted]
    target = Target("text", folder, "a.txt", careless, [*damages, *flips(1)])
    found = {o.damage: o.verdict for o in attack(target, tmp_path / "sandbox")}
    assert found.pop("flipped bit 0") == "wrong number"
    assert found == wanted
    assert (folder / "a.txt").read_text() == "7"
