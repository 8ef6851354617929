"""``MLPotential("sikff", model="m.sikff")``: force fields in OpenMM-ML, extra `openmm`.

OpenMM-ML finds this through its entry points. It stands on its ASE potential.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from openmmml.mlpotential import MLPotentialImplFactory
from openmmml.models.asepotential import ASEPotentialImpl

from .ase import SIKFFCalculator


class SIKFFPotentialImplFactory(MLPotentialImplFactory):
    """Makes the potential for the arguments of MLPotential."""

    def createImpl(self, name: str, **args: Any) -> SIKFFPotentialImpl:  # noqa: N802
        return SIKFFPotentialImpl(name, **args)


class SIKFFPotentialImpl(ASEPotentialImpl):
    """A force field, or a committee; its arguments are those of SIKFFCalculator."""

    def __init__(self, name: str, **args: Any) -> None:
        super().__init__(name)
        self._calculator = SIKFFCalculator(**args)

    def addForces(  # noqa: N802
        self, topology: Any, system: Any, atoms: Iterable[int] | None, forceGroup: int, **args: Any
    ) -> None:
        args = {"calculator": self._calculator} | args
        super().addForces(topology, system, atoms, forceGroup, **args)
