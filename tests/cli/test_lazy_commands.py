import subprocess
import sys
from importlib import import_module

import pytest

from dreamer import cli


def help_of(name):
    module = import_module(f"dreamer.cli.{name}")
    group = getattr(module, "app", None)
    return group.info.help if group else getattr(module, name).__doc__


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_what_the_list_says_of_a_command_is_the_first_line_of_its_help(name):
    assert help_of(name).splitlines()[0] == cli.COMMANDS[name]


def test_each_command_has_a_file_and_each_file_is_known():
    helpers = {"console", "options", "progress", "filming", "suggest"}
    folder = import_module("pathlib").Path(cli.__file__).parent
    files = {path.stem for path in folder.glob("[a-z]*.py")}
    assert files == helpers | set(cli.COMMANDS)


def test_the_list_of_commands_imports_none_of_them():
    code = (
        "import sys\nfrom dreamer.cli import run\n"
        "run(['--help'])\n"
        "print([m for m in sys.modules if m.startswith('dreamer.cli.') or m == 'rich'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['dreamer.cli.console']"
    assert "Dream on folders of photos" in done.stdout


def test_a_command_that_is_not_there_is_answered_with_the_nearest(capsys):
    assert cli.run(["drem"]) == 2
    said = capsys.readouterr().err
    assert "'drem'" in said
    assert "Did you mean dream?" in said
    assert "dreamer --help" in said


def test_every_command_can_be_asked_for_help(capsys):
    for name, line in cli.COMMANDS.items():
        assert cli.run([name, "--help"]) == 0
        assert line.split()[0] in capsys.readouterr().out
