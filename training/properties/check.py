"""All checks of a crystal, as numbers and as a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ase
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict

from ..evaluation.plots import BLUE, GREY, ORANGE, new_figure
from ..simulation.cell import check_cell_may_change
from .crystal import check_crystal, primitive, relax_completely, supercell
from .defects import surface_energies, vacancy_energies
from .dynamics import Dynamics, run_dynamics
from .elasticity import ElasticConstants, VolumeCurve, elastic_constants, equation_of_state
from .phonons import PhononBands, phonon_bands
from .settings import CheckSettings


class Findings(BaseModel):
    """What was found; None: not asked for, or not possible.

    Attributes:
        crystal: relaxed.
        notes: what could not be computed, and why.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    crystal: ase.Atoms
    eos: VolumeCurve | None = None
    elastic: ElasticConstants | None = None
    phonons: PhononBands | None = None
    vacancy: dict[int, float] | None = None
    surfaces: dict[str, float] | None = None
    dynamics: Dynamics | None = None
    notes: list[str] = []

    def table(self) -> dict[str, float | str]:
        """The numbers, by names that end in their units."""
        lengths, angles = self.crystal.cell.cellpar()[:3], self.crystal.cell.cellpar()[3:]
        found: dict[str, float | str] = {
            "cell_A": " ".join(f"{each:.4f}" for each in lengths),
            "cell_angles_deg": " ".join(f"{each:.2f}" for each in angles),
            "volume_A3_per_atom": self.crystal.get_volume() / len(self.crystal),
            "energy_eV_per_atom": self.crystal.get_potential_energy() / len(self.crystal),
        }
        if self.eos:
            found["bulk_modulus_GPa"] = self.eos.bulk_modulus
        if self.elastic:
            found |= {f"{name}_GPa": value for name, value in self.elastic.independent.items()}
            found["elastic_bulk_modulus_GPa"] = self.elastic.bulk_modulus
            found["elastic_shear_modulus_GPa"] = self.elastic.shear_modulus
            found["elastically_stable"] = "yes" if self.elastic.is_stable else "no"
        if self.phonons:
            found["highest_phonon_THz"] = float(self.phonons.frequencies.max())
            found["lowest_phonon_THz"] = min(
                self.phonons.lowest, float(self.phonons.frequencies.min())
            )
            found["phonons_stable"] = "yes" if self.phonons.is_stable else "no"
        for atom, energy in (self.vacancy or {}).items():
            found[f"vacancy_of_{self.crystal.symbols[atom]}{atom}_eV"] = energy
        for hkl, energy in (self.surfaces or {}).items():
            found[f"surface_{hkl}_J_per_m2"] = energy
        if self.dynamics:
            found["temperature_K"] = self.dynamics.temperature
            found["picoseconds"] = self.dynamics.picoseconds
            found["rms_displacement_A"] = self.dynamics.displacement
            found["nearest_A"] = self.dynamics.nearest
        return found


def check(
    crystal: ase.Atoms,
    settings: CheckSettings | None = None,
    report: Callable[[str], Any] = lambda line: None,
) -> Findings:
    """Properties of a crystal with any calculator, also that of a reference.

    Args:
        crystal: with a calculator; it does not change.
        settings: None: the defaults.
        report: called with the name of each property before it is computed.

    Raises:
        ValueError: for anything but a crystal, one that does not relax, or on a surface.
    """
    check_crystal(crystal)
    settings = settings or CheckSettings()
    relaxed = crystal.copy()
    relaxed.calc = crystal.calc
    check_cell_may_change(relaxed)
    report("cell")
    relax_completely(relaxed, settings.fmax, "crystal", cell=True)
    size, fmax = settings.size, settings.fmax
    computed: dict[str, Callable[[], Any]] = {
        "eos": lambda: equation_of_state(relaxed, fmax=fmax),
        "elastic": lambda: elastic_constants(relaxed, fmax=fmax),
        "phonons": lambda: phonon_bands(primitive(relaxed), size),
        "vacancy": lambda: vacancy_energies(relaxed, size, 10 * fmax),
        "surfaces": lambda: surface_energies(relaxed, thickness=size, fmax=10 * fmax),
        "dynamics": lambda: run_dynamics(
            supercell(relaxed, size),
            settings.temperature,
            settings.picoseconds,
            settings.timestep,
        ),
    }
    found, notes = {}, []
    for name in settings.properties:
        report(name)
        try:
            found[name] = computed[name]()
        except (ValueError, ArithmeticError, RuntimeError) as error:
            notes.append(f"no {name}: {error}")
    return Findings(crystal=relaxed, notes=notes, **found)


def draw_findings(findings: Findings) -> Figure | None:
    """Panels of the volume curve, the phonons and the radial distribution; None without any."""
    panels: list[tuple[Callable[[Any, Any], None], Any]] = [
        (_draw_volumes, findings.eos),
        (_draw_phonons, findings.phonons),
        (_draw_distribution, findings.dynamics),
    ]
    shown = [(draw, each) for draw, each in panels if each is not None]
    if not shown:
        return None
    figure, axes = new_figure(len(shown))
    for ax, (draw, each) in zip(axes, shown, strict=True):
        draw(ax, each)
    return figure


def _draw_volumes(ax: Any, curve: VolumeCurve) -> None:
    ax.plot(curve.volumes, 1000 * (curve.energies - curve.energy), "o-", color=BLUE)
    ax.set(xlabel="volume (Å³/atom)", ylabel="energy (meV/atom)")
    ax.set_title(f"bulk modulus {curve.bulk_modulus:.4g} GPa", fontsize=10)


def _draw_phonons(ax: Any, bands: PhononBands) -> None:
    ax.plot(bands.positions, bands.frequencies, color=BLUE, linewidth=1)
    ax.axhline(0, color=GREY, linewidth=1)
    places, names = zip(*bands.labels, strict=True)
    ax.set_xticks(places, [name.replace("G", "Γ") for name in names])
    ax.set(ylabel="frequency (THz)", xlim=(bands.positions[0], bands.positions[-1]))
    ax.set_title("phonons" if bands.is_stable else "phonons, some imaginary", fontsize=10)


def _draw_distribution(ax: Any, dynamics: Dynamics) -> None:
    ax.plot(dynamics.distances, dynamics.distribution, color=ORANGE)
    ax.axhline(1, color=GREY, linewidth=1)
    ax.set(xlabel="r (Å)", ylabel="g(r)", ylim=(0, None))
    ax.set_title(f"{dynamics.temperature:.4g} K, {dynamics.picoseconds:.3g} ps", fontsize=10)
