"""Fields and surfaces in ASE: their effect on motion, errors and warnings."""

from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase import units
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet

from force_fields import ethanol, force_field
from pair_model import PairModel
from sikff.calculators import SIKFFCalculator
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
PLANE = {"plane_origin": (0.0, 0.0, -2.0), "plane_range": 6.0}
SURFACES = {**PLANE, "surfaces": ("graphene", "NaCl")}
NO_ENVIRONMENT: dict[str, Any] = {}
FIELD = {"field": True}


def molecule_with_calculator(
    group: str, environment: dict[str, Any], **conditions: Any
) -> ase.Atoms:
    """A molecule with a calculator in this environment."""
    atoms = ethanol()
    atoms.calc = SIKFFCalculator(
        force_field(group, environment=environment), device="cpu", **conditions
    )
    return atoms


def test_a_changed_surface_is_noticed_however_it_was_changed() -> None:
    atoms = molecule_with_calculator("C_inf_v", SURFACES, surface="graphene")
    origin = np.array([0.0, 0.0, -2.0])

    def change(key: str, value: Any) -> None:
        atoms.info[key] = value

    def in_place() -> None:
        atoms.info["surface_origin"][2] -= 0.3

    changes = [
        lambda: atoms.calc.set(surface="NaCl"),
        lambda: change("surface_origin", origin - [0, 0, 0.2]),
        in_place,
        lambda: atoms.calc.set(surface="vacuum"),
        lambda: atoms.calc.parameters.__setitem__("surface", "graphene"),
        lambda: atoms.info.pop("surface_origin"),
        lambda: atoms.calc.set(surface=None) and change("surface", "NaCl"),
        lambda: atoms.calc.set(surface_origin=[0.0, 0.0, -1.9]),
    ]
    seen = [atoms.get_forces()]
    for apply in changes:
        apply()
        seen.append(atoms.get_forces())
        fresh = atoms.copy()
        model = atoms.calc.models[0]
        fresh.calc = SIKFFCalculator(model, device="cpu", **atoms.calc.parameters)
        assert np.array_equal(seen[-1], fresh.get_forces())
        assert np.abs(seen[-1] - seen[-2]).max() > 1e-4
    assert not atoms.calc.calculation_required(atoms, ["forces"])


@pytest.mark.parametrize(
    ("group", "environment", "info", "message"),
    [
        ("C_inf_v", FIELD, {"electric_field": [0.1, 0, 0]}, r"is not along \[\[0.0, 0.0, 1.0\]\]"),
        ("C_inf_v", FIELD, {"surface_origin": [0, 0, 1]}, "the model sees no plane"),
        ("O(3)", NO_ENVIRONMENT, {"surface": "graphene"}, "the model sees no plane"),
        ("C_inf_v", PLANE, {"electric_field": [0, 0, 1]}, "the model reads no field"),
        ("C_inf_v", PLANE, {"surface": "graphene"}, "'graphene'; the model expects no name"),
        ("C_inf_v", SURFACES, {"surface": "Pt"}, "expects one of graphene, NaCl, vacuum"),
        ("C_inf_v", SURFACES, {}, "no surface is named; the model expects one of graphene"),
        ("C_inf_v", SURFACES, {"surface": 3}, "surface is 3; expected the name of a surface"),
        ("C_inf_v", PLANE, {"surface_origin": "top"}, "surface_origin is 'top'; expected three"),
    ],
)
def test_conditions_that_the_model_does_not_read_raise(
    group: str, environment: dict[str, Any], info: dict[str, Any], message: str
) -> None:
    atoms = molecule_with_calculator(group, environment)
    atoms.info |= info
    with pytest.raises(ValueError, match=message):
        atoms.get_forces()


def test_different_surfaces_in_info_and_parameters_raise() -> None:
    atoms = molecule_with_calculator("C_inf_v", SURFACES, surface="graphene")
    atoms.info["surface"] = "NaCl"
    with pytest.raises(ValueError, match=r"atoms.info has surface NaCl, the calculator graphene"):
        atoms.get_forces()
    with pytest.raises(ValueError, match="no parameter plane; expected electric_field, surface_or"):
        atoms.calc.set(plane=[0, 0, 1])


def test_conditions_outside_the_training_data_get_one_warning() -> None:
    environment = {
        **PLANE,
        "field": True,
        "field_min": 0.0,
        "field_max": 0.5,
        "height_min": 0.0,
    }
    atoms = molecule_with_calculator("C_inf_v", environment, electric_field=[0, 0, 0.5])
    atoms.get_forces()
    atoms.calc.set(electric_field=[0, 0, 0.7])
    with pytest.warns(UserWarning, match=r"0.7 V/Å is beyond the training data .* 0 to 0.5 V/Å"):
        atoms.get_forces()
    atoms.calc.set(electric_field=[0, 0, -0.3])
    atoms.get_forces()  # no other warning of that kind
    atoms.positions[:, 2] -= 5
    with pytest.warns(UserWarning, match="lower than all of the training data"):
        atoms.get_forces()
    atoms.rattle(0.1)
    atoms.get_forces()


@pytest.mark.parametrize("replay_after", [None, 0])
@pytest.mark.parametrize("models", [1, 2])
def test_a_changed_charge_is_noticed_however_it_was_changed(
    models: int, replay_after: int | None
) -> None:
    """By one model and by committees, eager and replayed: results are those of a fresh one."""
    environment = {"charge": True, "spin": True}
    atoms = ethanol()
    atoms.calc = SIKFFCalculator(
        [force_field(seed=seed, environment=environment) for seed in range(models)],
        device="cpu",
        replay_after=replay_after,
        charge=1,
    )

    def change(key: str, value: Any) -> None:
        atoms.info[key] = value

    changes = [
        lambda: atoms.calc.set(charge=-1),
        lambda: change("spin", 2),
        lambda: change("spin", 3),
        lambda: atoms.calc.set(charge=None),
        lambda: change("total_charge", 2.0),
        lambda: atoms.info.clear(),
    ]
    seen = [atoms.get_forces()]
    for apply in changes:
        apply()
        seen.append(atoms.get_forces())
        fresh = atoms.copy()
        fresh.calc = SIKFFCalculator(
            atoms.calc.models, device="cpu", replay_after=None, **atoms.calc.parameters
        )
        assert np.abs(seen[-1] - fresh.get_forces()).max() < LIMITS.gradient
        assert np.abs(seen[-1] - seen[-2]).max() > 1e-4
    change("charge", 0)
    assert not atoms.calc.calculation_required(atoms, ["forces"])


def test_a_charge_that_the_model_does_not_read_gets_one_warning() -> None:
    atoms = molecule_with_calculator("O(3)", NO_ENVIRONMENT)
    neutral = atoms.get_forces()
    atoms.info |= {"charge": -1, "spin": 1}
    with pytest.warns(
        UserWarning, match=r"charge .* is -1, which the model does not read"
    ) as found:
        assert np.array_equal(atoms.get_forces(), neutral)
    assert len(found) == 1
    atoms.info["charge"] = 1
    atoms.get_forces()
    atoms.info |= {"spin": 2}
    with pytest.warns(UserWarning, match="multiplicity .* is 2, .* with environment.spin: true"):
        atoms.get_forces()


def test_committees_of_models_of_which_one_reads_charge_raise() -> None:
    models = [force_field(environment={"charge": charge}) for charge in (True, False)]
    with pytest.raises(ValueError, match="no electric field and the charge and sees no plane"):
        SIKFFCalculator(models, device="cpu")


def test_committees_of_different_surfaces_raise() -> None:
    with pytest.raises(ValueError, match=r"another 20 Å above it, one of .* expected the same"):
        SIKFFCalculator(
            [
                force_field("C_inf_v", environment=SURFACES),
                force_field("C_inf_v", environment={**SURFACES, "slit_width": 20.0}),
            ],
            device="cpu",
        )


def test_the_dipole_of_ase_equals_that_of_the_field_response() -> None:
    atoms = molecule_with_calculator("O(3)", FIELD, electric_field=[0.1, 0.0, 0.2])
    stressed = atoms.copy()
    stressed.set_cell([9, 9, 9])
    stressed.calc = atoms.calc
    dipole, stress = stressed.get_dipole_moment(), stressed.get_stress()
    assert {"dipole", "stress"} <= stressed.calc.results.keys()  # both are kept
    response = stressed.calc.get_field_response()
    assert np.abs(response.dipole - dipole).max() < LIMITS.gradient
    assert np.array_equal(response.directions, np.eye(3))
    assert response.polarizability.shape == (3, 3)
    assert stressed.get_properties(["dipole"])["dipole"].shape == (3,)
    stressed.rattle(0.1)
    assert np.abs(stressed.get_dipole_moment() - dipole).max() > 1e-4
    assert np.abs(stressed.get_stress() - stress).max() > 1e-6


def test_an_axial_model_has_the_dipole_along_its_axis_only() -> None:
    axis = (1.0, 2.0, 2.0)
    model = force_field("C_inf_v", axis=axis, environment=FIELD)
    atoms = ethanol()
    atoms.calc = SIKFFCalculator(model, device="cpu")
    with pytest.raises(PropertyNotImplementedError, match=r"three components, .* get_field_resp"):
        atoms.get_dipole_moment()
    response = atoms.calc.get_field_response(atoms)
    assert np.abs(response.directions - np.array(axis) / 3).max() < LIMITS.algebra
    assert (response.dipole.shape, response.polarizability.shape) == ((1,), (1, 1))

    def energy(strength: float) -> float:
        atoms.info["electric_field"] = strength * np.array(axis) / 3
        return atoms.get_potential_energy()

    mean = (energy(1e-3) + energy(-1e-3)) / 2
    assert abs(response.dipole[0] + (energy(1e-3) - energy(-1e-3)) / 2e-3) < 1e-5
    assert abs(response.polarizability[0, 0] + 2 * (mean - energy(0.0)) / 1e-6) < 1e-3


def test_models_without_field_have_no_field_response() -> None:
    atoms = molecule_with_calculator("O(3)", NO_ENVIRONMENT)
    with pytest.raises(PropertyNotImplementedError, match="reads no electric field"):
        atoms.calc.get_field_response(atoms)
    with pytest.raises(PropertyNotImplementedError, match="along 0 directions"):
        atoms.get_dipole_moment()
    with pytest.raises(ValueError, match="no atoms given"):
        SIKFFCalculator(PairModel(), device="cpu").get_field_response()


@pytest.mark.parametrize(
    ("group", "environment", "conditions", "conserved"),
    [
        ("O(3)", NO_ENVIRONMENT, {}, "momentum xyz, angular momentum xyz"),
        ("C_inf_v", PLANE, {}, "momentum xy, angular momentum z"),
        ("C_inf_v", FIELD, {"electric_field": [0, 0, 0.4]}, "momentum xyz, angular momentum z"),
        ("C3v", PLANE, {}, "momentum xy, angular momentum "),
    ],
)
def test_environments_break_the_conservation_laws_of_their_symmetry(
    group: str, environment: dict[str, Any], conditions: dict[str, Any], conserved: str
) -> None:
    """A free molecule with a random force field, pushed and spun: a short NVE run."""
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    atoms.calc = SIKFFCalculator(
        force_field(group, environment=environment), device="cpu", **conditions
    )
    rng = np.random.default_rng(0)
    atoms.set_momenta(rng.standard_normal((3, 3)) * np.sqrt(atoms.get_masses() * 0.03)[:, None])

    def quantities() -> dict[str, np.ndarray]:
        momenta, positions = atoms.get_momenta(), atoms.positions
        return {
            "momentum": momenta.sum(0),
            "angular momentum": np.cross(positions, momenta).sum(0),
        }

    start, energies = quantities(), []
    dynamics = VelocityVerlet(atoms, 0.1 * units.fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.run(100)
    for part in conserved.split(", "):
        name, _, axes = part.rpartition(" ")
        for axis, change in zip("xyz", quantities()[name] - start[name], strict=True):
            assert abs(change) < LIMITS.invariance if axis in axes else abs(change) > 1e-4, part
    assert np.ptp(energies) < 0.02 * atoms.get_kinetic_energy()


def test_committees_with_different_field_directions_have_no_field_response() -> None:
    atoms = ethanol()
    models = [force_field("O(3)", environment=FIELD), force_field("C_inf_v", environment=FIELD)]
    atoms.calc = SIKFFCalculator(models, device="cpu")
    atoms.get_forces()
    with pytest.raises(PropertyNotImplementedError, match="along different directions"):
        atoms.calc.get_field_response(atoms)
    with pytest.raises(PropertyNotImplementedError, match="along 1 directions"):
        atoms.get_dipole_moment()
    atoms.calc = SIKFFCalculator(
        [models[0], force_field("O(3)", 1, environment=FIELD)], device="cpu"
    )
    dipoles = [
        SIKFFCalculator(model, device="cpu").get_dipole_moment(atoms) for model in atoms.calc.models
    ]
    assert np.abs(atoms.get_dipole_moment() - np.mean(dipoles, axis=0)).max() < LIMITS.gradient
