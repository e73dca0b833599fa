"""Latents of images that were encoded before, one small file each."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...utils.io import atomic_write


class LatentCache:
    """A folder of latents, found by all bytes of the image and by what encodes it.

    So it cannot give the latent of another image, crop or encoder, and any number of processes may
    use it at once. Each image is encoded alone: its latent does not depend on the batch in which it
    was met first.

    Args:
        folder: Grows by one file for each new image and crop.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)

    def __call__(self, images: Tensor, made_by: str, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """Latents ``(B, 4, h, w)`` of images ``(B, 3, H, W)``; ``encode`` makes those missing.

        ``made_by`` says whatever else they depend on.
        """
        found = [self._latent(image[None], made_by, encode) for image in images]
        return torch.cat(found).to(images.device)

    def _latent(self, image: Tensor, made_by: str, encode: Callable) -> Tensor:
        path = self._path(image, made_by)
        if path.is_file():
            try:
                return load_file(path)["latent"]
            except (SafetensorError, KeyError):
                path.unlink(missing_ok=True)  # damaged: made again
        latent = encode(image)
        with atomic_write(path) as temporary:
            save_file({"latent": latent.cpu().contiguous()}, temporary)
        return latent.cpu()

    def _path(self, image: Tensor, made_by: str) -> Path:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{made_by} {image.dtype} {tuple(image.shape)}".encode())
        digest.update(image.detach().float().cpu().contiguous().numpy().data)
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"
