"""Arguments from the fields of pydantic models."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from sikff.training.cli.arguments import CommandSettings, Metavar, Parser, Positional
from sikff.training.cli.main import COMMANDS, find_command, parse_command

Vector = tuple[float, float, float]


class Example(CommandSettings):
    source: Annotated[Path, Positional("SOURCE")]
    """what is read"""
    others: Annotated[tuple[str, ...], Positional("KEY=VALUE")] = ()
    """more of it"""
    start: Annotated[Path | None, Metavar("MODEL")] = Field(None, alias="from")
    """where it begins"""
    temperature: Annotated[float, Field(ge=0)] = 300.0
    """100 % of it, K"""
    point: Vector | None = None
    """three numbers"""
    axis: Annotated[Vector | None, Metavar("AXIS")] = None
    """one word"""
    seeds: tuple[int, ...] = (0, 1)
    """several numbers"""
    method: Literal["bfgs", "fire"] = "bfgs"
    """a choice"""
    height: bool = True
    """switched off"""
    quiet: bool = False
    """switched on"""


def parsed(line: str) -> Example:
    return Parser("sikff example", "An example.").parse_settings(Example, line.split())[0]


def failure(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        parsed(line)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_what_is_left_out_has_the_default_of_the_model() -> None:
    assert parsed("a") == Example(source=Path("a"))


def test_values_are_converted() -> None:
    line = "a --temperature 5 --point 0 -1 .5 --seeds 3 4 5 --method fire --no-height --quiet"
    assert parsed(line) == Example(
        source=Path("a"),
        temperature=5.0,
        point=(0.0, -1.0, 0.5),
        seeds=(3, 4, 5),
        method="fire",
        height=False,
        quiet=True,
    )


def test_positional_arguments_may_stand_between_options() -> None:
    settings = parsed("--from m a x=1 --quiet y=2 --temperature 5 z=3")
    assert settings.others == ("x=1", "y=2", "z=3")
    assert settings.start == Path("m")


def test_options_may_be_abbreviated() -> None:
    assert parsed("a --temp=5").temperature == 5.0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "the following arguments are required: SOURCE"),
        ("a --temperature -1", "temperature: input should be greater than or equal to 0, got '-1'"),
        ("a --seeds 1 x", "seeds: input should be a valid integer"),
        ("a --method sgd", "argument --method: invalid choice: 'sgd'"),
        ("a --point 1 2", "argument --point: expected 3 arguments"),
        ("a --height", "unrecognized arguments: --height"),
        ("a --axis up", "axis: input should be a valid tuple, got 'up'"),
        ("a -- --", "-- may come once only"),
    ],
)
def test_wrong_arguments_are_reported_in_one_line(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = failure(line, capsys)
    assert error.startswith(f"sikff: {message}")
    assert error.endswith("; see sikff example --help\n")
    assert error.count("\n") == 1


def test_help_shows_descriptions_defaults_and_placeholders(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    shown = " ".join(capsys.readouterr().out.split())
    for each in (
        "[--from MODEL]",
        "[--point X Y Z]",
        "[--axis AXIS]",
        "[--no-height]",
        "SOURCE [KEY=VALUE ...]",
        "--temperature X 100 % of it, K (default: 300.0)",
        "--seeds N [N ...] several numbers (default: 0 1)",
        "--method {bfgs,fire} a choice (default: bfgs)",
    ):
        assert each in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_of_every_command_has_a_help_text(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, model = find_command(command)
    assert not [name for name, field in model.model_fields.items() if not field.description]
    with pytest.raises(SystemExit) as end:
        parse_command([*command.split(), "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: sikff {command} ")
    assert "None" not in shown


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from sikff.training.cli.main import COMMANDS, parse_command\n"
        "for name in COMMANDS:\n"
        "    try:\n        parse_command([*name.split(), '--help'])\n"
        "    except SystemExit:\n        pass\n"
        "heavy = {'matplotlib', 'e3nn', 'scipy', 'ase.md', 'ase.optimize', 'escnn'}\n"
        "print(heavy & sys.modules.keys(), file=sys.stderr)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == "set()\n"
