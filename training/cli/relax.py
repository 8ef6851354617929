"""``sikff relax``: minimises the energy of a structure."""

from __future__ import annotations

from pathlib import Path

from ..console import check_output_paths, print_table
from ..simulation.settings import RelaxationSettings
from .simulated_structure import SimulatedStructure


class RelaxArguments(SimulatedStructure, RelaxationSettings):
    """Arguments of ``sikff relax``."""

    output: Path = Path("relaxed.extxyz")
    """the relaxed structure, in a format that ASE writes"""


def run(settings: RelaxArguments) -> None:
    """Relaxes a structure and writes it, also if its forces are still too large.

    Raises:
        ValueError: if they are.
    """
    from ..simulation.relax import relax
    from ..simulation.structure_files import check_format, locked, write_structures

    output = settings.output
    check_output_paths([output], settings.overwrite, inputs=[*settings.models, settings.structure])
    check_format(output)
    atoms = settings.read()
    atoms.set_array("momenta", None)
    with locked(output):
        try:
            converged = relax(atoms, settings, log=None if settings.quiet else "-")
        except KeyboardInterrupt:
            write_structures(output, atoms)
            raise
        write_structures(output, atoms)
    if not converged:
        raise ValueError(
            f"not below {settings.fmax:g} eV/Å after {settings.steps} steps; wrote the structure "
            f"reached to {str(output)!r}"
        )
    largest = (atoms.get_forces() ** 2).sum(axis=1).max() ** 0.5
    energy = f"{atoms.get_potential_energy():.6f}"
    print_table({"energy_eV": energy, "largest_force_eV_per_A": float(largest)})
    print(f"wrote {output}")
