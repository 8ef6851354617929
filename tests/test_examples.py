"""The examples run, and leave their pictures."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, "-W", "error", EXAMPLES / script, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def test_demo(tmp_path: Path) -> None:
    said = run("demo.py", "--output", tmp_path / "demo", "--minutes", 0.1, "--steps", 12)
    assert "blind to the field" in said
    assert "energy drift" in said
    pictures = {path.name for path in (tmp_path / "demo").glob("*.png")}
    assert {"orientation.png", "nve_drift.png", "parity_O3.png", "parity_C_inf_v.png"} <= pictures


def test_kernels(tmp_path: Path) -> None:
    run("kernels.py", tmp_path / "kernels.png")
    assert (tmp_path / "kernels.png").stat().st_size > 10_000


def test_committee(tmp_path: Path) -> None:
    said = run("committee.py", "--output", tmp_path / "c", "--minutes", 0.02, "--members", 2)
    assert "force_std" in said
    assert (tmp_path / "c" / "committee.png").stat().st_size > 10_000
