"""Standard streams that are closed, or whose encoding has not all characters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sikff.training.cli import main
from sikff.training.evaluation.plots import read_log

MODEL = str(Path(__file__).parents[2] / "data" / "format_1" / "O3.sikff")
START = """2
Properties=species:S:1:pos:R:3
O 0 0 0
H 0 0 1
"""


@pytest.fixture(autouse=True)
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("start.xyz").write_text(START)


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-"])
def test_a_command_whose_streams_are_closed_does_its_work(closed: str) -> None:
    """Nor does what is printed get into a file that took the number of a closed stream."""
    command = f"{sys.executable} -m sikff.training md {MODEL} start.xyz --steps 3 --device cpu"
    done = subprocess.run(["sh", "-c", f"exec {command} {closed}"], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert read_log("md.csv")["step"].tolist() == [0, 3]
    assert Path("md.png").is_file()


def test_characters_that_an_encoding_lacks_are_printed_otherwise() -> None:
    """In a locale without UTF-8; the length unit is in most reports."""
    command = [sys.executable, "-m", "sikff.training", "relax", "--help"]
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=ascii_only, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "eV/\\xc5" in done.stdout


def test_streams_are_left_as_they_were(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = sys.stdout.errors
    assert main(["info", MODEL]) == 0
    assert sys.stdout.errors == errors
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", None)
        assert main(["info", MODEL]) == 0
        assert sys.stdout is None
