"""The check of a GPU on the CPU: what it finds, and what it does with a part that fails."""

import json
import sys
import time
from pathlib import Path

import pytest

from gpu import check


def test_parts_find_what_they_are_to_find() -> None:
    run = check.Check("cpu", quick=True)
    assert run.run("machine", check.machine)["GB/s"] > 0
    parity = run.run("parity", check.parity)
    assert parity["beyond limits"] == [] and "failed" not in parity
    assert {"O(3) float64", "O(3) float32"} <= parity.keys()
    steps = run.run("steps", check.steps)
    assert steps["O(3) 27 eager"]["launches"] > 100
    assert run.run("largest", check.largest)["24 atoms"]["s"] > 0


def test_errors_beyond_the_limits_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "LIMITS", {"float32": (1e-9, 1e-9)})
    found = check.Check("cpu", quick=True).run("parity", check.parity)
    assert any("O(3) float32 eager forces" in each for each in found["beyond limits"])


def test_a_part_that_fails_or_hangs_is_told_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def broken(run: check.Check, found: check.Results) -> None:
        found["before"] = 1
        raise RuntimeError("no such kernel")

    def slow(run: check.Check, found: check.Results) -> None:
        check.signal.setitimer(check.signal.ITIMER_REAL, 0.01)
        time.sleep(5)

    monkeypatch.setattr(check, "PARTS", {"one": broken, "two": slow, "machine": check.machine})
    file = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["check", "--device", "cpu", "--quick", "--json", str(file)])
    with pytest.raises(SystemExit) as end:
        check.main()
    assert end.value.code == 1
    found = json.loads(file.read_text())
    assert found["one"]["before"] == 1 and "no such kernel" in found["one"]["failed"]
    assert found["two"]["failed"].startswith("OutOfTimeError")
    assert "failed" not in found["machine"]
    assert "| one | failed | RuntimeError: no such kernel |" in capsys.readouterr().out
