"""Small labelled scenes, a miniature pipeline and a generator for tests of the synthesis."""

from pathlib import Path

import cv2
import numpy as np
import torch

from mmseg_domino.synthesis import Generated

ROAD, SIDEWALK, BUILDING, SKY, CAR = 0, 1, 2, 10, 13
SIZE = (64, 128)


def scene(seed: int, size=SIZE):
    """A street of a few boxes: image (H, W, 3) RGB, label (H, W)."""
    rng = np.random.default_rng(seed)
    height, width = size
    label = np.full(size, SKY, np.uint8)
    label[height // 2 :] = ROAD
    for _ in range(4):
        left, top = rng.integers(0, width - 20), rng.integers(4, height // 3)
        label[top : height // 2 + 3, left : left + 20] = BUILDING
    label[height // 2 + 3 :, : 10 + seed] = SIDEWALK
    left = int(rng.integers(20, width - 30))
    label[height // 2 + 6 : height // 2 + 18, left : left + 22] = CAR
    label[-3:] = 255
    colours = rng.integers(40, 230, (256, 3))
    image = colours[label] + rng.normal(0, 8, (*size, 3))
    return np.clip(image, 0, 255).astype(np.uint8), label


def write_cityscapes(root: Path, number: int = 4) -> dict:
    for folder in ("leftImg8bit", "gtFine"):
        (root / folder / "train" / "town").mkdir(parents=True)
    for seed in range(number):
        image, label = scene(seed)
        stem = f"town/town_{seed:06d}_000019"
        cv2.imwrite(str(root / f"leftImg8bit/train/{stem}_leftImg8bit.png"), image[..., ::-1])
        cv2.imwrite(str(root / f"gtFine/train/{stem}_gtFine_labelTrainIds.png"), label)
    return dict(
        type="CityscapesDataset",
        data_root=str(root),
        data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
        pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")],
    )


def write_disparity(root: Path, number: int = 4) -> Path:
    """Disparities as Cityscapes stores them: near below, with holes."""
    folder = root / "disparity" / "train"
    (folder / "town").mkdir(parents=True)
    for seed in range(number):
        depth = np.linspace(80, 4, SIZE[0])[:, None].repeat(SIZE[1], 1)
        stored = (0.209313 * 2262.52 / depth * 256 + 1).astype(np.uint16)
        stored[np.random.default_rng(seed).random(SIZE) < 0.2] = 0
        cv2.imwrite(str(folder / f"town/town_{seed:06d}_000019_disparity.png"), stored)
    return folder


def write_pipeline(root: Path) -> dict[str, str]:
    """The miniature Stable Diffusion folder and a ControlNet made of its UNet."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    from street_world.models import build_mini_models

    folders = build_mini_models(root, trained=False)
    unet = UNet2DConditionModel.from_pretrained(folders["sd"] / "unet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        controlnet = ControlNetModel.from_unet(unet)
        # ControlNet's own start is zero: without this, the label would have no effect.
        for block in [*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block]:
            torch.nn.init.normal_(block.weight, std=0.05)
        torch.nn.init.normal_(controlnet.controlnet_cond_embedding.conv_out.weight, std=0.05)
    controlnet.save_pretrained(root / "controlnet")
    return {"model": str(folders["sd"]), "controlnet": str(root / "controlnet")}


class Recolour:
    """A generator that needs nothing: noise of the request's seed on the real image.

    Args:
        stop_after: Raise ``KeyboardInterrupt`` at this call of ``generate``, as a kill would.
        problems: Source name -> what to hand back instead.
    """

    def __init__(self, stop_after=None, problems=None, tag="a"):
        self.stop_after, self.problems, self.tag = stop_after, problems or {}, tag
        self.asked = []

    def check_domains(self, domains):
        pass

    def describe(self):
        return {"type": "Recolour", "tag": self.tag}

    def generate(self, requests):
        results = []
        for request in requests:
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            self.asked.append((request.name, request.domain, request.seed))
            noise = np.random.default_rng(request.seed).integers(0, 120, request.image.shape)
            image = (request.image // 2 + noise).astype(np.uint8)
            results.append(self.problems.get(request.name, Generated(image)))
        return results
