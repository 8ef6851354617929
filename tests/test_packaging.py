"""What an installation brings, and what it must not."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in requirements}


def test_dependencies_have_lower_limits_only() -> None:
    """An upper limit locks another package out of the user's environment."""
    extras = PROJECT["project"]["optional-dependencies"]
    every = PROJECT["project"]["dependencies"] + [r for extra in extras.values() for r in extra]
    assert every
    assert [r for r in every if re.search(r"<|==|~=|!=|@", r)] == []


def test_nothing_needs_a_compiler_unless_asked_for() -> None:
    core = names(PROJECT["project"]["dependencies"])
    assert {"torch", "numpy", "ase", "e3nn"} <= core
    assert core.isdisjoint({"escnn", "py3nj", "lie-learn", "torch_scatter", "pyscf", "tblite"})


def test_the_lowest_versions_are_those_that_are_tested() -> None:
    """`make test-lowest` installs what the lower limits promise."""
    lowest = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.partition("#")[0].strip().split("==") for line in lowest if "==" in line)
    limits = dict(each.split(">=") for each in PROJECT["project"]["dependencies"])
    assert limits.keys() <= tested.keys()
    for name, version in limits.items():
        assert _numbers(tested[name]) == _numbers(version), name


def _numbers(version: str) -> tuple[int, ...]:
    """Numbers of a version without zeros at the end: 2 and 2.0.0 are the same."""
    numbers = [int(part) for part in version.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
