"""Package metadata, and the ``.mim`` folder through which MMEngine finds configs and tools."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
PACKAGE = ROOT / "mmseg_domino"


def read_version() -> str:
    scope: dict[str, str] = {}
    exec((PACKAGE / "version.py").read_text(), scope)
    return scope["__version__"]


def read_requirements(name: str) -> list[str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


class BuildWithConfigs(build_py):
    """Carry configs, tools and the model index as ``mmseg_domino/.mim``, and a start-up file.

    In development mode ``.mim`` holds links instead of copies. The start-up file is one line that
    imports the package: with it a config may name ``mmseg_domino::`` bases under any program that
    reads it, since bases are resolved before a config's own ``custom_imports``. Python runs it at
    every start, so a package that is gone or broken must not be heard of: who imports it by
    himself learns what is wrong.
    """

    start_up = "mmseg_domino_bases.pth"
    line = (
        "import sys; exec('try:\\n    import mmseg_domino\\n"
        'except Exception:\\n    sys.modules.pop("mmseg_domino", None)\')\n'
    )

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            mim = PACKAGE / ".mim"
            site = Path(self.get_finalized_command("install").install_purelib)
        else:
            mim = Path(self.build_lib) / "mmseg_domino" / ".mim"
            site = Path(self.build_lib)
        mim.mkdir(parents=True, exist_ok=True)
        for source in (ROOT / "configs", ROOT / "tools", ROOT / "model-index.yml"):
            target = mim / source.name
            if target.is_symlink() or target.is_file():
                target.unlink()
            elif target.is_dir():
                shutil.rmtree(target)
            if self.editable_mode:
                target.symlink_to(Path("..") / ".." / source.name)
            elif source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
                shutil.copytree(source, target, ignore=ignore)
            else:
                shutil.copy2(source, target)
        site.mkdir(parents=True, exist_ok=True)
        (site / self.start_up).write_text(self.line)


onedl = read_requirements("onedl")
web = ["gradio>=6"]
corruptions = read_requirements("corruptions")
detection = read_requirements("detection")
export = read_requirements("export")

setup(
    name="mmseg_domino",
    version=read_version(),
    description="Domain-aware fine-tuning of foundation models (Domino) for MMSegmentation 1.x",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="semantic segmentation, domain generalisation, foundation models, mmsegmentation",
    classifiers=[
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    packages=find_packages(include=["mmseg_domino", "mmseg_domino.*"]),
    package_data={
        "mmseg_domino": [
            "domain/banks/*",
            "page/templates/*",
        ]
    },
    entry_points={"console_scripts": ["domino = mmseg_domino.cli:main"]},
    python_requires=">=3.10,<3.13",
    install_requires=read_requirements("runtime"),
    extras_require={
        "onedl": onedl,
        "tests": read_requirements("tests"),
        "corruptions": corruptions,
        "detection": detection,
        # ONNX graphs are written with the first two and run with the last
        "export": export,
        "web": web,
        # a distribution of its own in the same repository: pip install ./street_world '.[demo]'
        "demo": ["mmseg-domino-street-world"],
        "docs": read_requirements("docs"),
        "all": [*onedl, *detection, *corruptions, *export, *web],
    },
    cmdclass={"build_py": BuildWithConfigs},
    zip_safe=False,
)
