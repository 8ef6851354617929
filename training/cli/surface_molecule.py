"""What ``sikff adsorption`` and ``sikff pmf`` put on a surface: a molecule and a force field."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import NonNegativeInt

from ..section import Count
from .arguments import Positional
from .shared_settings import Electrons, Models, Output
from .simulated_structure import Vector

if TYPE_CHECKING:
    from ..evaluation.adsorbate import Adsorbate


class SurfaceMolecule(Output, Electrons, Models):
    """A molecule, the surface it is above, and the model."""

    molecule: Annotated[Path, Positional("MOLECULE")]
    """a file; its last structure is the molecule, of any orientation, anywhere"""
    anchor: NonNegativeInt | None = None
    """the atom, counted from 0, whose place counts as that of the molecule (default: the centre of
    mass)"""
    surface: str | None = None
    """which of the surfaces of MODEL (default: the surface of MOLECULE)"""
    surface_origin: Vector | None = None
    """a point of the surface, Å (default: the surface_origin of MOLECULE, or that of MODEL)"""
    grid: Count = 12
    """places of the map along each lattice vector; those of a multiple of 6 have all sites"""

    def read(self) -> Adsorbate:
        """The molecule, relaxed in vacuum, and the surface.

        Raises:
            ValueError: a periodic structure, or a model that sees no surface.
        """
        from sikff.calculators import SIKFFCalculator

        from ..data.labels import without_labels
        from ..evaluation.adsorbate import Adsorbate
        from ..simulation.structure_files import read_structure

        molecule = without_labels(read_structure(self.molecule))
        if molecule.pbc.any():
            warnings.warn(
                f"{self.molecule} is periodic along {molecule.pbc.tolist()}, which does not count: "
                "the molecule is alone above the surface",
                stacklevel=2,
            )
            molecule.pbc = False
        if molecule.constraints:
            warnings.warn(f"the constraints of {self.molecule} do not count here", stacklevel=2)
            molecule.set_constraint()
        options = self.model_dump(include={"device", "dtype"}, exclude_unset=True)
        given = {
            "surface": self.surface,
            "surface_origin": self.surface_origin and list(self.surface_origin),
        }
        molecule.info |= {key: value for key, value in given.items() if value is not None}
        molecule.info |= self.electrons
        return Adsorbate.of_model(molecule, SIKFFCalculator(self.models, **options), self.anchor)
