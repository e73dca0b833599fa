"""Stable Diffusion with a segmentation ControlNet. The only module here that imports diffusers.

Shapes: ``B`` requests, ``h w`` the generated size, multiples of 8.
"""

import contextlib
import hashlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetPipeline,
    UniPCMultistepScheduler,
)
from PIL import Image

from ..domain import MissingWeightsError
from .generators import GENERATORS, Generated, Request

_PIPELINES = {
    "text": StableDiffusionControlNetPipeline,
    "image": StableDiffusionControlNetImg2ImgPipeline,
}
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@GENERATORS.register_module()
class ControlNetGenerator:
    """Images from label maps by Stable Diffusion 1.x and a segmentation ControlNet.

    Args:
        model: Folder in diffusers' format, or name on the Hugging Face hub.
        controlnet: The same, of a ControlNet for ADE20K's colours.
        mode: ``'text'``: from noise, the label alone fixes the layout; ``'image'``: from the real
            photo, noised by ``strength``, whose layout and texture stay.
        size: (h, w) that is generated; the result is resized to the label's size by the caller.
        steps: Denoising steps.
        guidance_scale: Weight of the prompt.
        control_scale: Weight of the ControlNet.
        strength: For ``'image'``: share of the noise schedule that is gone through, above 0 to 1.
        precision: ``'bf16'``, ``'fp16'`` or ``'fp32'``.
        device: ``None`` for this process's GPU, or the CPU if there is none.
        attention_slicing: Less memory, slower.
        cpu_offload: Keep on the GPU only the part that is at work (needs accelerate).
        safety_checker: Use the model's, if it has one. What it blackens is set aside.
        scheduler: ``'unipc'`` (good in 20 to 30 steps), or ``'model'`` for the model's own.

    Raises:
        MissingWeightsError: If weights are missing; the message has the command that fetches
            them. With ``HF_HUB_OFFLINE=1`` nothing is fetched.
        ImportError: If ``cpu_offload`` is asked for without accelerate.
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        model: str = "stable-diffusion-v1-5/stable-diffusion-v1-5",
        controlnet: str = "lllyasviel/control_v11p_sd15_seg",
        mode: str = "text",
        size: tuple[int, int] = (512, 1024),
        steps: int = 25,
        guidance_scale: float = 7.5,
        control_scale: float = 1.0,
        strength: float = 0.7,
        precision: str = "bf16",
        device: str | None = None,
        attention_slicing: bool = False,
        cpu_offload: bool = False,
        safety_checker: bool = True,
        scheduler: str = "unipc",
    ) -> None:
        _check_choice("mode", mode, _PIPELINES)
        _check_choice("precision", precision, _PRECISIONS)
        _check_choice("scheduler", scheduler, ("unipc", "model"))
        if len(size) != 2 or any(side < 64 or side % 8 for side in size):
            raise ValueError(
                f"size must be (height, width), multiples of 8 from 64 on; got {tuple(size)}"
            )
        if mode == "image" and (not 0 < strength <= 1 or int(steps * strength) < 1):
            raise ValueError(
                f"strength must be above 0, at most 1, and leave one of the {steps} steps at "
                f"least; got {strength}"
            )
        self.mode, self.size, self.steps = mode, tuple(size), steps
        self.guidance_scale, self.control_scale = guidance_scale, control_scale
        self.strength, self.precision = strength, precision
        self.model, self.controlnet, self.scheduler = model, controlnet, scheduler
        self.safety_checker = safety_checker
        self.pipeline = self._load()
        self._weights = _weights_sha256(self.pipeline)
        if attention_slicing:
            self.pipeline.enable_attention_slicing()
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if cpu_offload:
            try:
                self.pipeline.enable_model_cpu_offload(device=self.device)
            except ImportError as error:
                raise ImportError("cpu_offload needs accelerate: pip install accelerate") from error
        else:
            self.pipeline.to(self.device)
        self.pipeline.set_progress_bar_config(disable=True)

    def check_domains(self, domains: Sequence[str]) -> None:
        """Every domain that a prompt describes can be asked for."""

    def describe(self) -> dict:
        described = {
            "type": "ControlNetGenerator",
            "model": _last_parts(self.model),
            "controlnet": _last_parts(self.controlnet),
            "weights_sha256": self._weights,
            "mode": self.mode,
            "size": list(self.size),
            "steps": self.steps,
            "guidance_scale": self.guidance_scale,
            "control_scale": self.control_scale,
            "precision": self.precision,
            "scheduler": type(self.pipeline.scheduler).__name__,
            "safety_checker": self.pipeline.safety_checker is not None,
        }
        return described | ({"strength": self.strength} if self.mode == "image" else {})

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        height, width = self.size
        controls = [_resized(r.control, self.size, Image.Resampling.NEAREST) for r in requests]
        inputs = {
            "prompt": [request.prompt for request in requests],
            "negative_prompt": [request.negative_prompt for request in requests],
            # On the CPU, so that an image does not depend on the device or its batch.
            "generator": [torch.Generator("cpu").manual_seed(r.seed) for r in requests],
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance_scale,
            "controlnet_conditioning_scale": self.control_scale,
            "height": height,
            "width": width,
            "output_type": "np",
        }
        if self.mode == "text":
            inputs["image"] = controls
        else:
            lanczos = Image.Resampling.LANCZOS
            inputs["image"] = [_resized(r.image, self.size, lanczos) for r in requests]
            inputs["control_image"] = controls
            inputs["strength"] = self.strength
        # NaN is looked for here, so NumPy need not warn when the pipeline scales it.
        with np.errstate(invalid="ignore"):
            output = self.pipeline(**inputs)
        flags = output.nsfw_content_detected or [False] * len(requests)
        return [
            _result(image, bool(flag)) for image, flag in zip(output.images, flags, strict=True)
        ]

    def _load(self):
        dtype = _PRECISIONS[self.precision]
        with _fetching(self.controlnet):
            controlnet = ControlNetModel.from_pretrained(self.controlnet, torch_dtype=dtype)
        options = {} if self.safety_checker else {"safety_checker": None}
        with _fetching(self.model):
            pipeline = _PIPELINES[self.mode].from_pretrained(
                self.model,
                controlnet=controlnet,
                torch_dtype=dtype,
                requires_safety_checker=False,
                **options,
            )
        if self.scheduler == "unipc":
            config = pipeline.scheduler.config
            pipeline.scheduler = UniPCMultistepScheduler.from_config(config)
        return pipeline


def _check_choice(argument: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{argument} must be one of {', '.join(choices)}, got {value!r}")


def _last_parts(name: str) -> str:
    """A model's name without the folders of this machine."""
    return "/".join(Path(name).parts[-2:])


def _resized(image: np.ndarray, size: tuple[int, int], method: Image.Resampling) -> Image.Image:
    return Image.fromarray(image).resize((size[1], size[0]), method)


def _result(image: np.ndarray, flagged: bool) -> Generated:
    finite = np.isfinite(image)
    problem = None
    if flagged:
        problem = "the safety checker of the model objected"
    elif not finite.all():
        share = 100 * (1 - finite.mean())
        problem = f"the model gave NaN or infinite values ({share:.1f} % of them); try fp32"
    pixels = np.where(finite, image, 0)
    return Generated((pixels * 255 + 0.5).astype(np.uint8), problem)


def _weights_sha256(pipeline) -> str:
    digest = hashlib.sha256()
    for name in ("unet", "controlnet", "vae", "text_encoder"):
        for key, value in sorted(getattr(pipeline, name).state_dict().items()):
            digest.update(f"{name}.{key}{tuple(value.shape)}".encode())
            # NumPy knows no bfloat16: hash the bytes.
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextlib.contextmanager
def _fetching(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if Path(name).is_dir():
            raise MissingWeightsError(f"{name} is no complete diffusers folder: {error}") from error
        folder = Path("weights") / Path(name).name
        raise MissingWeightsError(
            f"the weights {name!r} are neither a folder nor in the Hugging Face cache, and could "
            "not be fetched. Fetch them once, with network access:\n"
            f"    HF_HUB_OFFLINE=0 hf download {shlex.quote(name)} --local-dir {folder}\n"
            f"and name the folder in the config; then work offline with HF_HUB_OFFLINE=1."
        ) from error
