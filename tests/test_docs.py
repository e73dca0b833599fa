"""The code in README and docs: each block is run, or says in the page's source why it is not.

``<!-- not run: REASON -->`` above a block is the mark. Whatever is not run is still read: its
commands are parsed as the command line would, files of this repository that it names must exist,
and parts that a config names must be registered and take the arguments given.
"""

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import yaml
from markdown_it import MarkdownIt

from mmseg_domino.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "street_world" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
#: Blocks that hold no code.
PROSE = {"text", "bibtex", "{toctree}", "{eval-rst}", "{math}"}
MARK = re.compile(r"<!--\s*not run: (.+?)\s*-->", re.DOTALL)
#: Programs of others: that they are called right cannot be told here.
FOREIGN = {"pip", "hf", "git", "python3.11", "pre-commit", "torchrun", ".", "export", "cd", "echo"}


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path):
    """Code blocks of a page, each with the mark directly above it."""
    reason = None
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block":
            match = MARK.search(token.content)
            reason = match[1] if match else reason
        elif token.type in ("fence", "code_block"):
            language = token.info.split(" ")[0] if token.type == "fence" else "an indented block"
            yield Block(page, token.map[0] + 1, language, token.content, reason)
            reason = None


BLOCKS = [block for page in PAGES for block in blocks(page)]
CODE = [block for block in BLOCKS if block.language not in PROSE]


def of(*languages):
    return pytest.mark.parametrize(
        "block", [block for block in CODE if block.language in languages], ids=str
    )


def test_every_block_says_what_it_is():
    known = {"python", "sh", "yaml"}
    assert not [f"{block}: {block.language!r}" for block in CODE if block.language not in known]
    assert all(block.reason is None or len(block.reason) > 10 for block in CODE)


def commands(text: str):
    """The commands of a shell block, split as the shell splits them."""
    text = text.replace("\\\n", " ")
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = next((i for i, word in enumerate(words) if word in ("&&", "|", ";")), len(words))
            if words[:end]:
                yield words[:end]
            words = words[end + 1 :]


def parse(arguments: list[str]) -> None:
    """Have click parse a ``domino`` command without running it."""
    command, words = main, [re.sub(r"^\[(.*)\]$", r"\1", word) for word in arguments]
    words = (
        " ".join(words).replace("[", "").replace("]", "").split() if "[" in str(words) else words
    )
    context = None
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context, info_name=command.name)
        name, command, words = command.resolve_command(context, list(words))
    try:
        command.make_context(name, list(words), parent=context)
    except click.BadParameter as error:
        if "does not exist" not in error.message:  # data and checkpoints of the reader
            raise
    except click.exceptions.Exit:
        pass


@of("sh")
def test_commands_are_what_the_command_line_takes(block):
    makefile = (ROOT / "Makefile").read_text()
    for words in commands(block.text):
        while "=" in words[0] and not words[0].startswith("-"):
            words = words[1:]  # an environment variable
        program, arguments = words[0], words[1:]
        if program == "domino":
            parse(arguments)
        elif program == "make":
            assert all(re.search(rf"^{target}:", makefile, re.M) for target in arguments)
        elif program == "python" and arguments[0] == "-m":
            assert find_spec(arguments[1]), f"no module {arguments[1]}"
        elif program.startswith("tools/") or (program == "python" and arguments[0] != "-c"):
            path = arguments[0] if program == "python" else program
            assert (ROOT / path).is_file(), f"no file {path}"
        else:
            assert program in FOREIGN | {"python"} or program.startswith(".venv/"), program
        for word in arguments:
            if re.match(r"(configs|tools|benchmarks|docs)/[^{}*]+\.(py|sh|md|png)$", word):
                assert (ROOT / word).is_file() or "--out" in arguments, f"no file {word}"


def registered(name: str):
    from mmengine.registry import OPTIMIZERS
    from mmseg import registry as of_mmseg

    import mmseg_domino.plugin  # noqa: F401
    from mmseg_domino.synthesis import GENERATORS

    names = [n for n in of_mmseg.__all__ if isinstance(getattr(of_mmseg, n), type(GENERATORS))]
    for registry in [*(getattr(of_mmseg, n) for n in names), OPTIMIZERS, GENERATORS]:
        found = registry.get(name)
        if found is not None:
            return found
    return None


@of("python")
def test_parts_that_are_named_exist_and_take_these_arguments(block):
    for node in ast.walk(ast.parse(block.text)):
        is_dict = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dict"
        given = {k.arg: k.value for k in node.keywords} if is_dict else {}
        name = given.get("type")
        if not isinstance(name, ast.Constant):
            continue
        part = registered(name.value)
        assert part is not None, f"{block}: no part {name.value}"
        taken = inspect.signature(part).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
            extra = set(given) - {"type", "_delete_", "_scope_", None} - set(taken)
            assert not extra, f"{block}: {name.value} takes no {extra}"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the repository's own files in it."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("configs", "tools", "docs", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    # Where a reader's own configs may lie: beside the shipped ones.
    (folder / "own").mkdir()
    for path in (ROOT / "configs").iterdir():
        (folder / "own" / path.name).symlink_to(path)
    return folder


def run(command: list[str], workplace: Path) -> None:
    environment = {
        **os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run(
        command, cwd=workplace, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


@of("python")
def test_python(block, workplace):
    if block.reason:
        pytest.skip(block.reason)
    if "_base_" in block.text:
        from mmengine.config import Config

        from mmseg_domino.engine import apply_domino

        file = workplace / "own" / f"page_{block.page.stem}_{block.line}.py"
        file.write_text(block.text)
        config = Config.fromfile(file)
        assert apply_domino(config).model if "runner_type" in config else config
        return
    run([sys.executable, "-c", block.text], workplace)


@of("sh")
def test_shell(block, workplace):
    if block.reason:
        pytest.skip(block.reason)
    run(["bash", "-euc", block.text], workplace)


@of("yaml")
def test_yaml(block, tmp_path):
    if block.reason:
        pytest.skip(block.reason)
    if "domains" in yaml.safe_load(block.text):
        from mmseg_domino.domain import load_prompt_bank

        path = tmp_path / "bank.yaml"
        path.write_text(block.text)
        assert load_prompt_bank(str(path)).domains
