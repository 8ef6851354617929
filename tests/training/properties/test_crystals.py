"""Properties of crystals, against closed forms of springs between nearest neighbours."""

import csv
from pathlib import Path

import ase
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential

from sikff.training.cli import main
from sikff.training.cli.check import CheckArguments
from sikff.training.properties import crystal as crystals
from sikff.training.properties.check import check, draw_findings
from sikff.training.properties.defects import surface_energies, vacancy_energies
from sikff.training.properties.dynamics import radial_distribution, run_dynamics
from sikff.training.properties.elasticity import bain_path, elastic_constants, equation_of_state
from sikff.training.properties.phonons import phonon_bands
from sikff.training.properties.settings import CheckSettings
from sikff.training.simulation.relax import relax
from sikff.training.simulation.settings import RelaxationSettings

DEPTH, DISTANCE, RHO = 0.5, 2.6, 5.0  # eV, Å, of the Morse potential of nearest neighbours
SPRING = 2 * DEPTH * (RHO / DISTANCE) ** 2  # eV/Å^2
LATTICE = DISTANCE * np.sqrt(2)


class OffTheirPlaces(Calculator):
    """Atoms of a crystal gain 1 eV where they leave its places by 0.3 Å, if one of them lacks."""

    implemented_properties = ("energy", "forces")
    RADIUS = 0.3

    def __init__(self, crystal: ase.Atoms) -> None:
        super().__init__()
        self.places = crystal.positions.copy()

    def calculate(self, *arguments: object) -> None:
        super().calculate(*arguments)
        off = self.atoms.positions[:, None] - self.places[None]
        off = np.take_along_axis(off, (off**2).sum(-1).argmin(1)[:, None, None], 1)[:, 0]
        square = (off**2).sum(axis=1) / self.RADIUS**2
        lacks = 1.0 if len(off) < len(self.places) else -1.0
        energies = square**2 - 2 * lacks * square
        forces = -4 * (square - lacks)[:, None] * off / self.RADIUS**2
        self.results = {"energy": float(energies.sum()), "forces": forces}


@pytest.fixture
def crystal() -> ase.Atoms:
    atoms = bulk("Cu", a=LATTICE, cubic=True)
    atoms.calc = MorsePotential(
        epsilon=DEPTH,
        r0=DISTANCE,
        rho0=RHO,
        rcut1=1.15,
        rcut2=1.3,  # second neighbours: 1.41
    )
    return atoms


def test_elastic_constants_of_springs(crystal: ase.Atoms) -> None:
    elastic = elastic_constants(crystal, strain=1e-3)
    unit = SPRING / LATTICE / units.GPa
    expected = np.zeros((6, 6))
    expected[:3, :3] = unit
    expected[range(6), range(6)] = [2 * unit] * 3 + [unit] * 3
    np.testing.assert_allclose(elastic.matrix, expected, atol=2e-3 * unit)
    assert elastic.is_stable
    assert elastic.bulk_modulus == pytest.approx(4 / 3 * unit, rel=2e-3)
    assert list(elastic.independent) in (["C11", "C12"], ["C11", "C12", "C44"])  # C12 = C44


def test_moduli_lie_between_those_of_voigt_and_reuss(crystal: ase.Atoms) -> None:
    elastic = elastic_constants(crystal, strain=1e-3)
    c11, c12, c44 = elastic.matrix[0, 0], elastic.matrix[0, 1], elastic.matrix[3, 3]
    voigt = (c11 - c12 + 3 * c44) / 5
    reuss = 5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12))
    assert elastic.shear_modulus == pytest.approx((voigt + reuss) / 2, rel=1e-3)


def test_the_bulk_modulus_of_the_volume_curve_is_that_of_the_springs(crystal: ase.Atoms) -> None:
    curve = equation_of_state(crystal, extent=0.02)
    assert curve.bulk_modulus == pytest.approx(4 / 3 * SPRING / LATTICE / units.GPa, rel=0.01)
    assert curve.volume == pytest.approx(LATTICE**3 / 4, rel=1e-4)
    assert curve.energy == pytest.approx(-6 * DEPTH, abs=1e-4)


def test_no_minimum_among_the_volumes_is_an_error(crystal: ase.Atoms) -> None:
    crystal.set_cell(0.9 * crystal.cell, scale_atoms=True)
    with pytest.raises(ValueError, match="relax the cell first"):
        equation_of_state(crystal, extent=0.01)


def test_phonons_of_springs(crystal: ase.Atoms) -> None:
    single = bulk("Cu", a=LATTICE)
    single.calc = crystal.calc
    bands = phonon_bands(single, size=7.0, displacement=1e-3)
    mass = single.get_masses()[0]
    highest = np.sqrt(8 * SPRING / mass) * units.s / (2 * np.pi) * 1e-12  # longitudinal, at X
    assert bands.frequencies.max() == pytest.approx(highest, rel=2e-3)
    assert bands.is_stable
    assert {name for _, name in bands.labels} >= {"G", "X", "L"}


def test_a_crystal_at_a_saddle_has_imaginary_phonons() -> None:
    """Springs alone do not hold a body-centred or simple cubic crystal."""
    simple = bulk("Cu", "sc", a=DISTANCE)
    simple.calc = MorsePotential(epsilon=DEPTH, r0=DISTANCE, rho0=RHO, rcut1=1.45, rcut2=1.6)
    assert not phonon_bands(simple, size=7.0).is_stable


@pytest.mark.parametrize("size", [6.0, 8.0])
def test_phonons_have_the_symmetry_and_the_sound_of_the_crystal(size: float) -> None:
    """With forces that reach beyond half of the supercell, of three and of four cells."""
    copper = bulk("Cu", cubic=True)
    copper.calc = EMT()
    relax(copper, RelaxationSettings(cell=True, fmax=1e-4))
    single = bulk("Cu", a=copper.cell[0, 0])
    single.calc = copper.calc
    bands = phonon_bands(single, size)
    assert bands.is_stable
    at_x = bands.frequencies[bands.positions == dict((n, p) for p, n in bands.labels)["X"]][0]
    assert at_x[0] == pytest.approx(at_x[1], rel=1e-6), "the transverse ones"
    density = single.get_masses()[0] / single.get_volume()
    stiffness = elastic_constants(copper).matrix[[3, 0], [3, 0]] * units.GPa
    speeds = np.sqrt(stiffness / density) * units.s * 1e-12  # Å THz, along a cubic axis
    found = 2 * np.pi * bands.frequencies[1, [0, 2]] / bands.positions[1]
    assert found == pytest.approx(speeds, rel=0.02)


def test_broken_bonds_of_vacancies_and_surfaces(crystal: ase.Atoms) -> None:
    assert vacancy_energies(crystal, size=7.0)[0] == pytest.approx(6 * DEPTH, abs=1e-3)
    energies = surface_energies(crystal, thickness=8.0, vacuum=4.0)
    bonds = {"100": (4, LATTICE**2 / 2), "111": (3, np.sqrt(3) / 4 * LATTICE**2)}
    bonds["110"] = (6, LATTICE**2 / np.sqrt(2))  # 5 of the first layer, 1 of the second
    for hkl, (broken, area) in bonds.items():
        expected = broken * DEPTH / 2 / area * units.m**2 / units.J
        assert energies[hkl] == pytest.approx(expected, rel=1e-3), hkl


def test_a_vacancy_leaves_the_saddle_of_the_crystals_symmetry() -> None:
    """Its neighbours go where their energy is lower, though at their places no force is on them."""
    atoms = bulk("Cu", a=LATTICE, cubic=True)
    atoms.calc = OffTheirPlaces(atoms)
    assert vacancy_energies(atoms, size=1.0)[0] == pytest.approx(-3.0, abs=1e-3)


def test_what_does_not_relax_has_no_energy(
    crystal: ase.Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crystals, "STEPS", 1)
    crystal.rattle(0.1, seed=0)
    for energies in (vacancy_energies, surface_energies, equation_of_state, elastic_constants):
        with pytest.raises(ValueError, match=r"does not relax below 0\.\d+ eV/Å in 1 steps"):
            energies(crystal)


def test_energies_of_compounds_need_chemical_potentials(crystal: ase.Atoms) -> None:
    crystal.symbols[0] = "Au"
    for energies in (vacancy_energies, surface_energies):
        with pytest.raises(ValueError, match=r"compound \(Au, Cu\) depends on chemical potentials"):
            energies(crystal)


def test_the_bain_path_leads_from_one_cubic_crystal_to_the_other() -> None:
    """A face-centred crystal is a body-centred tetragonal one with c/a = sqrt(2)."""
    body = bulk("Cu", "bcc", a=LATTICE / 2 ** (1 / 3), cubic=True)
    face = bulk("Cu", "fcc", a=LATTICE)
    body.calc = face.calc = EMT()
    ratios = np.array([1.0, 1.2, np.sqrt(2), 1.6])
    energies = bain_path(body, ratios)
    assert energies[2] == pytest.approx(face.get_potential_energy(), abs=1e-9)
    assert energies.argmin() == 2


def test_the_distribution_of_a_crystal_counts_its_neighbours() -> None:
    r, g = radial_distribution([bulk("Cu", a=LATTICE)], largest=4.0, width=0.02)
    density = 4 / LATTICE**3
    shells = 4 / 3 * np.pi * density * ((r + 0.01) ** 3 - (r - 0.01) ** 3) * g
    assert shells[r < 1.2 * DISTANCE].sum() == pytest.approx(12)
    assert shells[r < 1.6 * DISTANCE].sum() == pytest.approx(18)


def test_the_distribution_of_an_ideal_gas_is_one() -> None:
    rng = np.random.default_rng(0)
    frames = [ase.Atoms("H500", rng.random((500, 3)) * 12, cell=[12] * 3, pbc=True)] * 2
    r, g = radial_distribution(frames, largest=5.0, width=0.5)
    assert g[r > 1] == pytest.approx(1, abs=0.1)


def test_dynamics_of_a_crystal_keep_it_together(crystal: ase.Atoms) -> None:
    before = crystal.positions.copy()
    found = run_dynamics(crystal, 100.0, 0.2)
    assert (crystal.positions == before).all()
    assert 0.02 < found.displacement < 0.5
    assert 2.0 < found.nearest < DISTANCE
    assert found.picoseconds == pytest.approx(0.2)


def test_all_checks_of_a_crystal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command, with a calculator in place of a model."""
    monkeypatch.chdir(tmp_path)
    copper = bulk("Cu", cubic=True)
    copper.calc = EMT()
    monkeypatch.setattr(CheckArguments, "read", lambda self: copper)
    options = ["--size", "6", "--picoseconds", "0.05", "--timestep", "5"]
    assert main(["check", "model.sikff", "copper.xyz", *options]) == 0
    with Path("check.csv").open() as file:
        table = dict(csv.reader(file))
    assert float(table["C11_GPa"]) == pytest.approx(172.6, abs=1)
    assert float(table["elastic_bulk_modulus_GPa"]) == pytest.approx(
        float(table["bulk_modulus_GPa"]), rel=0.01
    )
    assert table["phonons_stable"] == "yes"
    assert Path("check.png").stat().st_size > 10000
    assert "wrote check.csv, check.png" in capsys.readouterr().out


def test_what_cannot_be_computed_is_said() -> None:
    ordered = bulk("Cu", cubic=True)
    ordered.symbols[0] = "Au"
    ordered.calc = EMT()
    findings = check(ordered, CheckSettings(properties=("eos", "vacancy")))
    assert findings.eos is not None
    assert len(findings.notes) == 1
    assert findings.notes[0].startswith("no vacancy: the formation energy of a vacancy of a comp")
    assert draw_findings(findings) is not None


def test_a_molecule_is_no_crystal() -> None:
    with pytest.raises(ValueError, match="expected a crystal, periodic in three directions"):
        check(ase.Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]], calculator=EMT()))
