"""Outputs that cannot be written are refused before the work; pictures that fail are warnings."""

import json
from pathlib import Path

import ase.io
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from matplotlib.figure import Figure

from disk import full_disk
from sikff.lock import lock
from sikff.training.cli import main
from sikff.training.evaluation.plots import read_log

MODEL = str(Path(__file__).parents[2] / "data" / "format_1" / "O3.sikff")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    atoms = molecule("CH3OH")
    atoms.calc = SinglePointCalculator(atoms, energy=-5.0, forces=0.1 * atoms.positions)
    ase.io.write("start.xyz", atoms)
    Path("file").touch()
    Path("taken").mkdir()
    return tmp_path


COMMANDS = {  # whose model and data do not exist, so that they fail at once where they are read
    "relax absent absent.xyz --output {}": "a.xyz",
    "predict absent absent.xyz --output {}": "a.xyz",
    "md absent absent.xyz --log {}": "a.csv",
    "md absent absent.xyz --trajectory {}": "a.traj",
    "evaluate absent absent.xyz --json {}": "a.json",
    "symmetry absent.xyz --json {}": "a.json",
    "qm9 --target gap --json {}": "a.json",
    "nbody data --output {}": "a.xyz",
}
FOLDERS = ["evaluate absent absent.xyz --plots {}", "symmetry absent.xyz --output {}"]
FOLDERS += ["nbody table --output {}", "qm9 table --output {}", "shapes table --output {}"]
UNWRITABLE = "/proc/1"  # not even by root
proc = pytest.mark.skipif(not Path(UNWRITABLE).is_dir(), reason="needs Linux")


def refused(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a command that fails in a sentence and writes nothing."""
    before = sorted(Path().rglob("*"))
    assert main(command.split()) == 2
    assert sorted(Path().rglob("*")) == before
    error = capsys.readouterr().err
    assert error.startswith("sikff: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_cannot_be_written_are_refused_first(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = COMMANDS[command]
    said = refused(command.format(f"file/{name}"), capsys)
    assert f"'file/{name}' cannot be written: " in said
    Path(name).mkdir()
    assert f"'{name}' is a folder" in refused(command.format(name), capsys)


@proc
@pytest.mark.parametrize("command", [*COMMANDS, *FOLDERS])
def test_folders_that_cannot_be_written_to_are_refused_first(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{UNWRITABLE}/{COMMANDS.get(command, 'new')}"
    said = refused(command.format(name), capsys)
    assert "cannot write the file: " in said
    assert name in said


@pytest.mark.parametrize(
    "command",
    [
        "relax {model} start.xyz --output start.xyz --overwrite",
        "predict {model} start.xyz --output start.xyz --overwrite",
        "predict {model} start.xyz --output {model} --overwrite",
        "md {model} start.xyz --trajectory start.xyz --overwrite",
        "evaluate {model} start.xyz --json start.xyz",
        "evaluate {model} start.xyz --json {model}",
        "symmetry start.xyz --json start.xyz",
    ],
)
def test_inputs_are_not_replaced(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("start.xyz").read_bytes()
    text = refused(command.format(model=MODEL), capsys)
    assert "is read by this command" in text or "expected a name in .xyz" in text
    assert Path("start.xyz").read_bytes() == before


def test_missing_folders_are_made_by_the_result_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "absent", "start.xyz", "--output", "new/folder/a.xyz"]) == 2
    assert not Path("new").exists()
    assert main(["predict", MODEL, "start.xyz", "--output", "new/folder/a.xyz", "--quiet"]) == 0
    assert sorted(path.name for path in Path("new").rglob("*")) == ["a.xyz", "folder"]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("fails", ["drawing", "disk"])
def test_a_picture_that_fails_is_a_warning(
    fails: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no\nfont")

    if fails == "drawing":
        monkeypatch.setattr(Figure, "savefig", fail)
    device = ["--device", "cpu"]
    commands = {
        "parity_start.png": ["evaluate", MODEL, "start.xyz", *device, "--json", "e.json"],
        "md.png": ["md", MODEL, "start.xyz", *device, "--steps", "2", "--quiet"],
    }
    for picture, command in commands.items():
        with full_disk(5000 if fails == "disk" else 10**9):
            assert main(command) == 0
        shown = capsys.readouterr()
        reason = "RuntimeError: no font" if fails == "drawing" else "File too large"
        (warning,) = (line for line in shown.err.splitlines() if "warning" in line)
        assert warning.startswith(f"sikff: warning: no picture '{picture}' (")
        assert reason in warning
        assert picture not in shown.out
        assert not Path(picture).exists()
    assert json.loads(Path("e.json").read_text())["n_frames"] == 1
    assert len(read_log("md.csv")["step"]) > 0


@pytest.mark.parametrize("command", ["relax", "predict"])
def test_what_another_command_writes_is_not_replaced(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the trajectory of a running simulation, which would write on into a nameless file."""
    path = Path("run.xyz")
    path.write_text("frames\n")
    given = [command, MODEL, "start.xyz", "--output", "run.xyz", "--overwrite", "--quiet"]
    with lock(path, "wait"):
        assert main(given) == 2
    assert "'run.xyz' is in use by process" in capsys.readouterr().err
    assert path.read_text() == "frames\n"
    assert not list(Path().glob(".*"))
