"""OpenMM through the ASE potential of OpenMM-ML, and by the name that sikff has there."""

import tomllib
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from ase import units
from ase.build import molecule

from force_fields import crystal, force_field
from sikff.calculators import SIKFFCalculator

openmm = pytest.importorskip("openmm")
openmmml = pytest.importorskip("openmmml")
app = pytest.importorskip("openmm.app")

KJ_MOL = units.kJ / units.mol
FIELD = [0.0, 0.0, 0.3]


def topology_of(atoms: ase.Atoms) -> Any:
    topology = app.Topology()
    residue = topology.addResidue("all", topology.addChain())
    for atom in atoms:
        topology.addAtom(atom.symbol, app.Element.getBySymbol(atom.symbol), residue)
    if atoms.pbc.all():
        vectors = [openmm.Vec3(*map(float, row)) * 0.1 for row in atoms.cell.array]
        topology.setPeriodicBoxVectors(vectors * openmm.unit.nanometer)
    return topology


def context_of(system: Any, atoms: ase.Atoms, step: float = 0.5) -> Any:
    """At the positions of the atoms; the step is in fs."""
    integrator = openmm.VerletIntegrator(step * openmm.unit.femtosecond)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, integrator, platform)
    context.setPositions(atoms.positions * openmm.unit.angstrom)
    return context


def energy_and_forces(context: Any) -> tuple[float, np.ndarray]:
    """eV, eV/Å."""
    state = context.getState(getEnergy=True, getForces=True)
    energy = state.getPotentialEnergy().value_in_unit(openmm.unit.kilojoule_per_mole)
    unit = openmm.unit.kilojoule_per_mole / openmm.unit.angstrom
    return energy * KJ_MOL, np.array(state.getForces(asNumpy=True).value_in_unit(unit)) * KJ_MOL


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openmm") / "m.sikff"
    force_field("C_inf_v", environment={"field": True}).save(path)
    return path


@pytest.mark.parametrize("periodic", [False, True], ids=["molecule", "crystal"])
@pytest.mark.parametrize("name", ["ase", "sikff"])
def test_energies_and_forces_are_those_of_ase(name: str, periodic: bool, model: Path) -> None:
    """In a field, too, which comes with `info`."""
    atoms = crystal() if periodic else molecule("CH3OH")
    if periodic:
        atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    atoms.calc = SIKFFCalculator(model, device="cpu", electric_field=FIELD)
    if name == "ase":
        given = {"calculator": SIKFFCalculator(model, device="cpu")}
        potential = openmmml.MLPotential("ase")
    else:
        factories = pytest.importorskip("sikff.calculators.openmm")
        openmmml.MLPotential.registerImplFactory("sikff", factories.SIKFFPotentialImplFactory())
        given, potential = {}, openmmml.MLPotential("sikff", model=model, device="cpu")
    system = potential.createSystem(topology_of(atoms), info={"electric_field": FIELD}, **given)
    energy, forces = energy_and_forces(context_of(system, atoms))
    assert abs(energy - atoms.get_potential_energy()) < 1e-8 * abs(energy)
    assert np.abs(forces - atoms.get_forces()).max() < 1e-6
    assert np.abs(forces).max() > 0.01


def test_energy_is_conserved(model: Path) -> None:
    atoms = molecule("CH3OH")
    atoms.rattle(0.05, seed=0)
    calculator = SIKFFCalculator(model, device="cpu")
    system = openmmml.MLPotential("ase").createSystem(topology_of(atoms), calculator=calculator)
    context = context_of(system, atoms, step=0.2)
    context.setVelocitiesToTemperature(300 * openmm.unit.kelvin, 7)
    totals, kinetic = [], []
    for _ in range(10):
        context.getIntegrator().step(5)
        state = context.getState(getEnergy=True)
        energies = (state.getKineticEnergy(), state.getPotentialEnergy())
        kinetic.append(energies[0].value_in_unit(openmm.unit.kilojoule_per_mole))
        totals.append(sum(e.value_in_unit(openmm.unit.kilojoule_per_mole) for e in energies))
    assert min(kinetic) > 1
    assert np.ptp(totals) < 0.05 * np.mean(kinetic)


def test_an_error_of_the_force_field_stops_openmm(model: Path) -> None:
    atoms = molecule("H2O")
    calculator = SIKFFCalculator(model, device="cpu")
    system = openmmml.MLPotential("ase").createSystem(topology_of(atoms), calculator=calculator)
    atoms.positions[1] = atoms.positions[0] + 0.01
    with pytest.raises(Exception, match=r"are 0\.017 Å apart"):
        energy_and_forces(context_of(system, atoms))


def test_the_entry_point_names_what_exists() -> None:
    """OpenMM-ML imports it when it is imported itself, from wherever sikff is installed."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    named = tomllib.loads(text)["project"]["entry-points"]["openmmml.potentials"]["sikff"]
    module, _, name = named.partition(":")
    assert hasattr(pytest.importorskip(module), name)
