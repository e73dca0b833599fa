"""Sheets and measures of samples; the sampling itself is tested with the shipped models."""

import numpy as np
import pytest

from benchmarks.paper.training.sampling import (
    contact_sheet,
    domain_prompts,
    judged_domains,
    layout_agreement,
)
from mmseg_domino.domain.prompts import load_prompt_bank
from street_world.models import load_trained_clip
from street_world.street import DOMAINS, build, render, sample_scene


@pytest.fixture(scope="module")
def pictures():
    """Four scenes in every domain, domain after domain."""
    scenes = [sample_scene(990_000_000 + i, (128, 256)) for i in range(4)]
    geometries = [build(scene) for scene in scenes]
    return np.stack(
        [
            render(scene, domain, 0.8, geometry).image
            for domain in DOMAINS
            for scene, geometry in zip(scenes, geometries, strict=True)
        ]
    )


def test_prompts_are_in_the_order_of_the_domains():
    prompts = domain_prompts("acdc", 2)
    assert len(prompts) == 10
    for prompt, domain in zip(prompts[::2], load_prompt_bank("acdc").domains, strict=True):
        assert prompt in domain.prompts


def test_judge_knows_the_domains_of_rendered_pictures(pictures):
    clip = load_trained_clip()
    right = judged_domains(clip, pictures, "acdc")
    assert right["mean"] >= 80
    assert set(right) == {"mean", *DOMAINS}
    moved = judged_domains(clip, np.roll(pictures, 4, axis=0), "acdc")
    assert moved["mean"] <= 20


def test_layout_agrees_with_the_own_label_map_whatever_the_brightness(pictures):
    clear = pictures[:4]
    darker = (clear * 0.5).astype(np.uint8)
    same = layout_agreement(darker, clear)
    assert same["own"] > 0.99
    assert same["found_percent"] == 100
    assert same["others"] < 0
    other = layout_agreement(darker, np.roll(clear, 1, axis=0))
    assert other["found_percent"] == 0
    assert other["own"] < 0


def test_sheet_has_a_row_a_domain(pictures):
    rows = pictures.reshape(5, 4, 128, 256, 3)
    sheet = contact_sheet(list(rows), DOMAINS)
    assert sheet.shape == (5 * 128, 96 + 4 * 256, 3)
    np.testing.assert_array_equal(sheet[128:256, 96:352], rows[1, 0])
    assert (sheet[:128, :96] < 255).any()  # its name
