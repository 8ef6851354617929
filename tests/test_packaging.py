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
