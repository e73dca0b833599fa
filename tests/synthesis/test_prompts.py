import hashlib

import numpy as np
import pytest

from mmseg_domino.domain import load_prompt_bank
from mmseg_domino.synthesis.prompts import (
    caption_classes,
    check_domains,
    image_seed,
    make_prompt,
)

BANK = load_prompt_bank("acdc")


def test_seeds_differ_between_images_and_never_between_runs():
    seeds = {
        image_seed(s, n, d, i) for s in (0, 1) for n in "ab" for d in BANK.keys for i in (0, 1)
    }
    assert len(seeds) == 2 * 2 * 5 * 2
    assert all(0 <= seed < 2**53 for seed in seeds)
    digest = hashlib.sha256(b"7\na/b\nfog\n0").hexdigest()
    assert image_seed(7, "a/b", "fog") == int(digest[:16], 16) // 2**11


def test_a_caption_names_what_is_seen_largest_first():
    label = np.full((20, 20), 255, np.uint8)
    label[:10] = 2
    label[10:15] = 0
    label[19, 0] = 1
    classes = ("road", "pole", "sky")
    assert caption_classes(label, classes, min_share=0.01) == ["sky", "road"]
    assert caption_classes(label, classes, min_share=0.0) == ["sky", "road", "pole"]
    assert caption_classes(label, classes, min_share=0.0, max_classes=1) == ["sky"]
    assert caption_classes(np.full((2, 2), 255, np.uint8), classes) == []


def test_a_prompt_is_one_of_the_banks_and_the_caption():
    prompts = BANK.domains[BANK.keys.index("fog")].prompts
    made = {make_prompt(BANK, "fog", [], seed) for seed in range(len(prompts))}
    assert made == set(prompts)
    assert make_prompt(BANK, "fog", ["road"], 0) == f"{prompts[0]}, with road"
    listed = make_prompt(BANK, "fog", ["road", "car", "sky"], 0)
    assert listed == f"{prompts[0]}, with road, car and sky"


def test_domains_must_be_the_banks():
    check_domains(BANK, ["fog", "night"])
    for wrong in (["fog", "hail"], [], ["fog", "fog"]):
        with pytest.raises(ValueError, match="clear_day, fog, night"):
            check_domains(BANK, wrong)
