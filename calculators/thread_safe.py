"""ASE calculators that several threads may share."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import ase
from ase.calculators.calculator import Calculator


class ThreadSafeCalculator(Calculator):
    """A calculator in which one thread at a time compares atoms, computes and copies results.

    A subclass holds `lock` in `calculate` and whatever else it adds. Copies have locks of their
    own.
    """

    def __init__(self, **kwargs: Any) -> None:
        self.lock = threading.RLock()
        super().__init__(**kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, lock=threading.RLock())

    def get_property(
        self, name: str, atoms: ase.Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        with self.lock:
            return super().get_property(name, atoms, allow_calculation)

    def calculate_properties(self, atoms: ase.Atoms, properties: Sequence[str]) -> Any:
        with self.lock:
            return super().calculate_properties(atoms, properties)

    def set(self, **kwargs: Any) -> dict[str, Any]:
        with self.lock:
            return super().set(**kwargs)

    def reset(self) -> None:
        with self.lock:
            super().reset()
