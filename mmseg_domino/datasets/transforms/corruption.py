"""Common corruptions, made on the fly and the same every time.

Shapes: ``H W`` pixels.
"""

import os
import zlib
from pathlib import PurePath

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

#: The 15 corruptions of the benchmark, in its order.
CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
)  # fmt: skip
#: Those that draw from a generator of their own instead of numpy's global one.
_SEEDED_BY_ARGUMENT = ("impulse_noise", "glass_blur")
_INSTALL = "pip install imagecorruptions-imaug, or pip install 'mmseg_domino[corruptions]'"


@TRANSFORMS.register_module()
class Corrupt(BaseTransform):
    """Corrupt the image as in Cityscapes-C, deterministically by its file name.

    Comes right after the image is loaded. The random state depends on the name of the file, the
    corruption and the severity alone: not on the folder, the process, the order or a seed. Numpy's
    global random state is left as it was.

    Required keys: ``img`` (uint8, BGR, at least 32 pixels a side) and ``img_path``. Changed key:
    ``img``.

    Args:
        corruption: One of :data:`CORRUPTIONS`.
        severity: 1 to 5.

    Raises:
        ValueError: If an argument is none of these.
        ImportError: If the package ``imagecorruptions`` is not installed (when first used).

    Source: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions
    and Perturbations, ICLR 2019; Kamann and Rother, Benchmarking the Robustness of Semantic
    Segmentation Models, CVPR 2020.
    """

    is_loading = True

    def __init__(self, corruption: str, severity: int) -> None:
        if corruption not in CORRUPTIONS:
            raise ValueError(
                f"unknown corruption {corruption!r}; valid ones are {', '.join(CORRUPTIONS)}"
            )
        if severity not in (1, 2, 3, 4, 5):
            raise ValueError(f"severity must be from 1 to 5, got {severity!r}")
        self.corruption = corruption
        self.severity = severity

    def transform(self, results: dict) -> dict:
        """Corrupt ``img``."""
        try:
            from imagecorruptions import corrupt
        except ImportError as error:
            raise ImportError(
                f"Corrupt needs the package imagecorruptions, maintained as imagecorruptions-imaug:"
                f" {_INSTALL}"
            ) from error
        name = f"{PurePath(results['img_path']).name}:{self.corruption}:{self.severity}"
        seed = zlib.crc32(os.fsencode(name))  # any bytes are a name
        options = {"seed": seed} if self.corruption in _SEEDED_BY_ARGUMENT else {}
        rgb = np.ascontiguousarray(results["img"][:, :, ::-1])
        state = np.random.get_state()
        np.random.seed(seed)
        try:
            corrupted = corrupt(
                rgb, corruption_name=self.corruption, severity=self.severity, **options
            )
        finally:
            np.random.set_state(state)
        results["img"] = np.ascontiguousarray(corrupted[:, :, ::-1])
        return results

    def __repr__(self) -> str:
        return f"Corrupt(corruption={self.corruption!r}, severity={self.severity})"
