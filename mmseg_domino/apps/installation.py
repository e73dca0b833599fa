"""What is installed on this machine, and whether it fits together."""

import importlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from ..operators import which_operators

#: OpenMMLab's distribution and its continuation, by what is imported.
_HOST = {
    "mmengine": ("mmengine", "onedl-mmengine"),
    "mmcv": ("mmcv", "onedl-mmcv"),
    "mmseg": ("mmsegmentation", "onedl-mmsegmentation"),
    "mmpretrain": ("mmpretrain", "onedl-mmpretrain"),
}
#: Without these, parts of the package do not work.
_IMPORTS = ("torchvision", "diffusers", "open_clip", "transformers", "timm", "peft")
_INSTALL_HOST = "MMCV_WITH_OPS=0 pip install -r requirements/onedl.txt"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    text: str
    state: str = "ok"  # or "note" (works, and is worth knowing) or "problem"
    remedy: str = ""


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _import_error(module: str) -> str | None:
    """Why a module cannot be imported, in a line."""
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a broken package raises
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def check_requirements(distribution: str = "mmseg_domino") -> Iterator[Finding]:
    """Compare what a distribution requires with what is installed."""
    wrong = False
    for text in requires(distribution) or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _version(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            wrong = True
            wanted = f"{requirement.name}{requirement.specifier}"
            text = f"{found or 'not installed'}, {distribution} needs {wanted}"
            yield Finding(requirement.name, text, "problem", f'pip install "{wanted}"')
    if not wrong:
        yield Finding(distribution, f"{version(distribution)}, with all it requires")


def check_torch() -> Iterator[Finding]:
    """PyTorch and the torchvision that was built for it."""
    found, vision = _version("torch"), _version("torchvision")
    if found is None or vision is None:
        return  # said as a requirement
    base, needed = found.split("+")[0], map(Requirement, requires("torchvision") or [])
    wanted = next((one.specifier for one in needed if one.name == "torch"), None)
    if wanted is not None and not wanted.contains(base, prereleases=True):
        text = f"{found}, but torchvision {vision} was built for torch{wanted}"
        remedy = f"pip install --upgrade torch=={base} torchvision"
        yield Finding("torch", text, "problem", remedy)
    else:
        yield Finding("torch", f"{found}, torchvision {vision}")


def check_host() -> Iterator[Finding]:
    """MMSegmentation and its foundations: one distribution of each, importable together."""
    names = []
    for module, distributions in _HOST.items():
        found = [(name, v) for name in distributions if (v := _version(name))]
        if len(found) > 1:
            text = f"{' and '.join(name for name, _ in found)} overwrite each other's files"
            remedy = f"pip uninstall -y {' '.join(distributions)}, then install one of them"
            yield Finding(module, text, "problem", remedy)
        elif not found:
            yield Finding(module, "not installed", "problem", _INSTALL_HOST)
        else:
            names.append(" ".join(found[0]))
            error = _import_error(module)
            if error is not None:
                yield Finding(module, f"cannot be imported: {error}", "problem", _INSTALL_HOST)
    if names:
        yield Finding("MMSegmentation", ", ".join(names))
    yield from _check_operators()
    found = _version("mmdet") or _version("onedl-mmdetection")
    error = _import_error("mmdet") if found else None
    if found is None:
        text = "not installed; only detection and Mask2Former need it"
        yield Finding("mmdet", text, "note", "pip install 'mmseg_domino[detection]'")
    elif error is not None:
        text = f"{found}, cannot be imported: {error}"
        yield Finding("mmdet", text, "problem", "pip install 'mmseg_domino[detection]'")
    else:
        yield Finding("mmdet", found)


def _check_operators() -> Iterator[Finding]:
    kind, error = which_operators(), _import_error("mmcv.ops")
    if error is None:
        said = {"compiled": "compiled", "stand-ins": "mmseg_domino's, on PyTorch"}
        yield Finding("mmcv's operators", said.get(kind, kind))
        return
    remedy = "unset MMSEG_DOMINO_OPERATORS"
    if kind == "compiled":  # for another PyTorch
        remedy = "pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps mmcv"
    yield Finding("mmcv's operators", f"cannot be imported: {error}", "problem", remedy)


def check_installation() -> Iterator[Finding]:
    """Everything about packages."""
    yield from check_requirements()
    yield from check_torch()
    yield from check_host()
    for module in _IMPORTS:
        error = _import_error(module)
        if error is not None:
            remedy = "pip install -c requirements/constraints.txt -r requirements/runtime.txt"
            yield Finding(module, f"cannot be imported: {error}", "problem", remedy)
    transformers = _version("transformers") or "0"
    if int(transformers.split(".")[0]) >= 5 and _version("pycocotools"):
        text = f"its multimodal models are left out: they need transformers 4, found {transformers}"
        yield Finding("mmpretrain", text, "note", 'pip install "transformers<5", if you need them')


def check_machine() -> Iterator[Finding]:
    """Processors, memory and GPUs."""
    import torch

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    yield Finding("CPU", f"{os.cpu_count()} processors, {pages / 2**30:.0f} GiB of memory")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = (size / 2**30 for size in torch.cuda.mem_get_info(index))
            name = torch.cuda.get_device_name(index)
            yield Finding(f"GPU {index}", f"{name}, {total:.0f} GiB of memory, {free:.0f} free")
    elif shutil.which("nvidia-smi") and torch.version.cuda is None:
        text = f"there is one, but torch {torch.__version__} is built without CUDA"
        remedy = "pip install --force-reinstall torch torchvision, from pytorch.org's CUDA index"
        yield Finding("GPU", text, "problem", remedy)
    elif shutil.which("nvidia-smi"):
        text = f"torch (CUDA {torch.version.cuda}) cannot use it"
        yield Finding("GPU", text, "problem", "nvidia-smi, to see driver and devices")
    else:
        yield Finding("GPU", "none; training runs on the CPU", "note")
