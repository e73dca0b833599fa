"""The command as a whole: help, completion, arguments and errors."""

import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from mmseg_domino.cli import main
from mmseg_domino.cli.arguments import Command, Several, cfg_options, plain_errors

from .running import environment, run

COMMANDS = ["train", "test", "sweep", "report", "segment", "export", "domains", "data", "vpd",
            "verify", "convert", "synthesise", "doctor"]  # fmt: skip


def commands(group=main, words=()):
    for name, command in group.commands.items():
        yield [*words, name]
        if isinstance(command, click.Group):
            yield from commands(command, [*words, name])


def test_the_commands_are_those_of_the_docs():
    assert list(main.commands) == COMMANDS
    assert list(main.commands["domains"].commands) == ["banks", "extract", "check", "analyse"]
    assert list(main.commands["data"].commands) == ["check", "convert", "mini"]
    assert list(main.commands["vpd"].commands) == ["convert", "embed"]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_help(words, domino, capsys):
    assert domino(*words, "--help") == 0
    said = capsys.readouterr().out
    assert said.lower().startswith(f"usage: domino {' '.join(words)} ")
    assert len(said.splitlines()) > 4


def test_help_imports_nothing_heavy(tmp_path):
    code = (
        "import sys\n"
        "from mmseg_domino.cli import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'mmengine', 'cv2', 'numpy', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.endswith("set()\n")


def test_it_is_a_module_too(tmp_path):
    done = run("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("domino, version ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [("domino tr", {"train"}), ("domino domains ", {"banks", "extract", "check", "analyse"}),
     ("domino data convert g", {"gta5"})],
)  # fmt: skip
def test_completion(words, expected):
    variables = {
        "_DOMINO_COMPLETE": "bash_complete", "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }  # fmt: skip
    said = CliRunner().invoke(main, [], prog_name="domino", env={**os.environ, **variables})
    assert {line.split(",")[1] for line in said.output.splitlines()} == expected


@click.command(cls=Command)
@click.argument("first")
@click.argument("second", required=False)
@click.option("--seeds", cls=Several, type=int, default=(0, 1))
@click.option("--flag", is_flag=True)
@cfg_options
def show(**values):
    click.echo(repr(values))


def parsed(*arguments):
    result = CliRunner().invoke(show, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return eval(result.output)


def test_options_with_several_values():
    assert parsed("a")["seeds"] == (0, 1)
    assert parsed("a", "--seeds", "3", "4", "--flag")["seeds"] == (3, 4)
    assert parsed("--seeds=3", "4", "--seeds", "5", "--flag", "a")["seeds"] == (3, 4, 5)
    both = parsed("--seeds", "3", "--", "a", "b")
    assert (both["first"], both["second"], both["seeds"]) == ("a", "b", (3,))
    assert CliRunner().invoke(show, ["a", "--seeds"]).exit_code == 2
    assert CliRunner().invoke(show, ["a", "--seeds", "x"]).exit_code == 2


def test_overrides_are_read_as_mmsegmentation_reads_them():
    from argparse import ArgumentParser

    from mmengine.config import DictAction

    given = ["a.b=1", "c=[1,2]", "d=x,y", "e=None", "f=1e-3", "g=a=b", "h=[(1,2),(3,4)]"]
    parser = ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    expected = parser.parse_args(["--cfg-options", *given]).cfg_options
    assert parsed("x", "--cfg-options", *given, "--flag")["cfg_options"] == expected
    assert parsed("x")["cfg_options"] == {}
    wrong = CliRunner().invoke(show, ["x", "--cfg-options", "nothing"])
    assert wrong.exit_code == 2
    assert "expected KEY=VALUE, got 'nothing'" in wrong.output


def test_errors_are_messages_and_a_traceback_on_request(monkeypatch):
    with pytest.raises(click.ClickException) as error, plain_errors(3):
        raise ValueError("a, expected b")
    assert (error.value.message, error.value.exit_code) == ("a, expected b", 3)
    monkeypatch.setenv("DOMINO_TRACEBACK", "1")
    with pytest.raises(ValueError, match="expected b"), plain_errors():
        raise ValueError("a, expected b")
    with pytest.raises(KeyError), plain_errors():  # nothing that a user could mend
        raise KeyError("x")


def test_without_the_street_world_it_says_how_to_install_it(domino, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "street_world.__main__", None)
    assert domino("data", "mini", "--root", "x") == 1
    assert "pip install 'mmseg_domino[demo]'" in capsys.readouterr().err
