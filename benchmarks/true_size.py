"""The flagship at true size: one training iteration and one test image, with time and memory.

    python benchmarks/true_size.py [--crop 256] [--test-size 512 1024]

The UNet has Stable Diffusion 1.5's 860 M parameters and random weights. Images and embeddings are
random too; the configuration is configs/domino_vpd_cityscapes.py's own in everything else.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from mmseg.structures import SegDataSample

import mmseg_domino.plugin  # noqa: F401  registers the parts

CONFIG = Path(__file__).parents[1] / "configs" / "domino_vpd_cityscapes.py"
DOMAIN_CHANNELS = 768


def sample(height: int, width: int) -> tuple[torch.Tensor, SegDataSample]:
    """A random image, its random label and domain embedding."""
    shape = (height, width)
    data = SegDataSample(
        gt_sem_seg=PixelData(data=torch.randint(0, 19, (1, *shape))),
        metainfo=dict(img_path="random.png", ori_shape=shape, img_shape=shape, pad_shape=shape),
    )
    data.domain_embedding = torch.randn(DOMAIN_CHANNELS)
    return torch.randint(0, 256, (3, *shape), dtype=torch.uint8), data


def peak_gib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(crop: int, test_size: tuple[int, int]) -> dict:
    """Build, train one iteration, test one image.

    Args:
        crop: Side of the training crop, in pixels.
        test_size: Height and width of the test image; windows are the config's 512 x 512.

    Returns:
        Seconds and peak GiB after each step.
    """
    init_default_scope("mmseg")
    torch.manual_seed(0)
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.update(weights="random", architecture="sd15")
    cfg.model.data_preprocessor.update(size=(crop, crop))
    results = {"device": "cpu", "threads": torch.get_num_threads(), "crop": crop}

    start = time.perf_counter()
    model = MODELS.build(cfg.model).train()
    results["unet_parameters"] = sum(p.numel() for p in model.backbone.unet.parameters())
    results["build_s"] = time.perf_counter() - start

    constructor = dict(
        type=cfg.optim_wrapper.constructor,
        optim_wrapper_cfg={
            k: v for k, v in cfg.optim_wrapper.items() if k in ("type", "optimizer")
        },
        paramwise_cfg=cfg.optim_wrapper.paramwise_cfg,
    )
    optimizer = OPTIM_WRAPPER_CONSTRUCTORS.build(constructor)(model)
    image, data = sample(crop, crop)
    start = time.perf_counter()
    losses = model.train_step(dict(inputs=[image], data_samples=[data]), optimizer)
    results["train_s"] = time.perf_counter() - start
    results["loss"] = losses["loss"].item()
    results["train_peak_gib"] = peak_gib()

    del optimizer
    model.eval()
    for parameter in model.parameters():
        parameter.grad = None
    image, data = sample(*test_size)
    model.data_preprocessor.size = None
    start = time.perf_counter()
    with torch.no_grad():
        prediction = model.test_step(dict(inputs=[image], data_samples=[data]))[0]
    results["test_s"] = time.perf_counter() - start
    results["test_size"] = list(prediction.pred_sem_seg.data.shape[-2:])
    results["finite"] = bool(prediction.seg_logits.data.isfinite().all())
    results["peak_gib"] = peak_gib()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--test-size", type=int, nargs=2, default=(512, 1024), metavar=("H", "W"))
    args = parser.parse_args()
    print(json.dumps(measure(args.crop, tuple(args.test_size)), indent=2))


if __name__ == "__main__":
    main()
