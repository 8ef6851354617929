"""``sikff relax``: minimises the energy of a structure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..console import check_output_paths, counted, print_table, progress_bar
from ..simulation.settings import RelaxationSettings
from .simulated_structure import SimulatedStructures

if TYPE_CHECKING:
    import ase

SHOWN = 3  # structures that an error names


class RelaxArguments(SimulatedStructures, RelaxationSettings):
    """Arguments of ``sikff relax``."""

    output: Path = Path("relaxed.extxyz")
    """the relaxed structure, in a format that ASE writes"""


def run(settings: RelaxArguments) -> None:
    """Relaxes structures and writes them, also if forces are still too large.

    Raises:
        ValueError: if they are.
    """
    from ..simulation.relax import relax
    from ..simulation.structure_files import check_format, locked, write_structures

    output = settings.output
    check_output_paths([output], settings.overwrite, inputs=[*settings.models, settings.structure])
    check_format(output)
    if settings.every_structure:
        return _relax_all(settings)
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
            f"not below {settings.fmax:g} eV/Å after {settings.steps} steps"
            f"{_rounding(atoms, settings.fmax)}; wrote the structure reached to {str(output)!r}"
        )
    largest = (atoms.get_forces() ** 2).sum(axis=1).max() ** 0.5
    energy = f"{atoms.get_potential_energy():.6f}"
    print_table({"energy_eV": energy, "largest_force_eV_per_A": float(largest)})
    print(f"wrote {output}")


def _rounding(atoms: ase.Atoms, fmax: float) -> str:
    """Words on the rounding of forces, if they are why these do not fall below a limit."""
    from ..simulation.relax import forces_round_by

    error = forces_round_by(atoms)
    if error < fmax / 2:
        return ""
    return f" (forces of float32 are wrong by {error:.1g} eV/Å here: take --dtype float64)"


def _relax_all(settings: RelaxArguments) -> None:
    """Relaxes all structures of the file in batches."""
    from ..simulation.structure_files import locked, write_structures
    from ..simulation.together import relax_together

    evaluator, structures = settings.read_all()
    for atoms in structures:
        atoms.set_array("momenta", None)
    bar = progress_bar(total=len(structures), unit="structure", disable=settings.quiet)
    with locked(settings.output), bar:
        try:
            outcomes = relax_together(
                evaluator, structures, settings, settings.batch_size, lambda n: bar.update()
            )
        except KeyboardInterrupt:
            write_structures(settings.output, structures)
            raise
        write_structures(settings.output, structures)
    rounding = [
        _rounding(atoms, settings.fmax)
        for atoms, outcome in zip(structures, outcomes, strict=True)
        if outcome is False
    ]
    open_ends = [
        f"structure {n}: {'not converged' if outcome is False else outcome}"
        for n, outcome in enumerate(outcomes)
        if outcome is not True
    ]
    if open_ends:
        raise ValueError(
            f"{len(open_ends)} of {counted(len(structures), 'structure')} not below "
            f"{settings.fmax:g} eV/Å after {settings.steps} steps{max(rounding, default='')}; "
            f"wrote those reached to {str(settings.output)!r} ({'; '.join(open_ends[:SHOWN])}"
            f"{'; ...' if len(open_ends) > SHOWN else ''})"
        )
    energies = [atoms.get_potential_energy() for atoms in structures]
    print_table({"structures": len(structures), "lowest_energy_eV": f"{min(energies):.6f}"})
    print(f"wrote {settings.output}")
