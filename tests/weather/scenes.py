"""A street of 256 x 512 pixels with label, depth and camera, drawn by its geometry."""

import cv2
import numpy as np
from mmseg.datasets import CityscapesDataset

from mmseg_domino.weather import Camera, Scene, describe_view

CLASSES = tuple(CityscapesDataset.METAINFO["classes"])
ROAD, SIDEWALK, BUILDING, VEGETATION, SKY, CAR = 0, 1, 2, 8, 10, 13
HEIGHT, WIDTH, HORIZON = 256, 512, 110


def street(seed: int = 0, measured: bool = True) -> Scene:
    """Road and pavement, houses on both sides that stand along them, trees, a car, the sky."""
    rng = np.random.default_rng(seed)
    camera = Camera(1.1 * WIDTH, WIDTH / 2, HORIZON)
    x, y = camera.rays(HEIGHT, WIDTH)
    ground = 1.3 / np.maximum(y, 1e-4)[:, None] * np.ones((1, WIDTH), np.float32)
    side = 9 / np.maximum(np.abs(x), 1e-4)[None] * np.ones((HEIGHT, 1), np.float32)
    depth = np.minimum(ground, side)
    label = np.full((HEIGHT, WIDTH), ROAD, np.uint8)
    label[np.abs(depth * x[None]) > 4] = SIDEWALK
    label[(side < ground) & (-y[:, None] * side < 9)] = BUILDING
    label[(side < ground) & (-y[:, None] * side >= 9)] = SKY
    label[depth > 150] = SKY
    tree = (slice(60, 130), slice(60, 110))
    label[tree], depth[tree] = VEGETATION, 18
    car = (slice(118, 170), slice(290, 370))
    label[car], depth[car] = CAR, 12
    colours = rng.integers(60, 200, (256, 3))
    colours[SKY] = (190, 205, 230)
    texture = rng.normal(0, 12, (HEIGHT, WIDTH, 1))
    image = np.clip(colours[label] + texture * (label != SKY)[..., None], 0, 255).astype(np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 0.6)
    depth[label == SKY] = np.nan
    depth = depth.astype(np.float32)
    view = describe_view(image, label, CLASSES, (depth, camera) if measured else None)
    return Scene.of_image(image, label, CLASSES, view)
