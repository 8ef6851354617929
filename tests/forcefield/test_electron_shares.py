"""Total charge and spin: their shares, what they change, and what they leave exactly alone."""

from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule

from force_fields import crystal, elements_of, ethanol, force_field, graph_of, moved, predict, slope
from sikff import ForceField, SymmetryGroup, load
from sikff.forcefield import EnvironmentConfig
from sikff.forcefield.corrected_model import build_corrected
from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions
from tolerances import TOLERANCES, Tolerance

EXACT = TOLERANCES[torch.float64]
BOTH: dict[str, Any] = {"charge": True, "spin": True}
ANION: dict[str, Any] = {"charge": -1, "spin": 2}
BARE: dict[str, Any] = {"atomic_energies": {}}  # large energies of free atoms would hide errors
PLANE = {"plane_origin": (0.0, 0.0, -2.0)}
FIELD = (0.0, 0.0, 0.3)


def reads_both(group: str = "O(3)", seed: int = 0, **options: Any) -> ForceField:
    """A model with random weights that reads charge and spin."""
    environment = {**BOTH, **options.pop("environment", {})}
    return force_field(group, seed, environment=environment, **BARE, **options)


def with_random_shares(model: ForceField) -> ForceField:
    """The model after a random choice of all weights that read shares."""
    generator = torch.Generator().manual_seed(3)
    for name, weight in model.named_parameters():
        if "share" in name:
            weight.data.copy_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return model


def energy(model: ForceField, atoms: ase.Atoms, **conditions: Any) -> float:
    return float(predict(model, atoms, **conditions).energy)


def far_apart(one: ase.Atoms, other: ase.Atoms) -> ase.Atoms:
    """Both in one structure, further apart than models can see."""
    there = other.copy()
    there.positions += 50
    return one + there


@pytest.mark.parametrize("group", ["C1", "C_inf_v", "O(3)", "Oh"])
def test_charge_and_spin_keep_the_symmetry(group: str) -> None:
    model, atoms = reads_both(group), ethanol()
    neutral, anion = predict(model, atoms), predict(model, atoms, **ANION)
    assert abs(float(anion.energy - neutral.energy)) > 1e-3
    assert (anion.forces - neutral.forces).abs().max() > 1e-3
    for g in elements_of(model.group):
        turned = predict(model, moved(atoms, g), **ANION)
        assert abs(float(turned.energy - anion.energy)) < EXACT.invariance
        rotated = anion.forces @ torch.from_numpy(g).T
        assert (turned.forces - rotated).abs().max() < EXACT.invariance
    if group != "O(3)":
        others = [
            energy(model, moved(atoms, g), **ANION) for g in elements_of(SymmetryGroup("O(3)"))
        ]
        assert max(abs(e - float(anion.energy)) for e in others) > 1e-4


@pytest.mark.parametrize("name", ["charge", "spin"])
def test_every_charge_and_every_spin_has_an_energy_of_its_own(name: str) -> None:
    model = reads_both()
    values = [energy(model, ethanol(), **{name: value}) for value in (1, 2, 3)]
    assert np.diff(sorted([energy(model, ethanol()), *values])[name == "spin" :]).min() > 1e-3


@pytest.mark.parametrize("structure", [ethanol, crystal])
def test_forces_and_stress_of_ions_are_derivatives_of_their_energy(structure: Any) -> None:
    model, atoms = reads_both("SO(2)"), structure()
    found = predict(model, atoms, stress=bool(atoms.pbc.any()), **ANION)

    def along(x: float) -> float:
        shifted = atoms.copy()
        shifted.positions[0, 1] += x
        return energy(model, shifted, **ANION)

    assert abs(found.forces[0, 1] + slope(along)) < EXACT.forces_fd
    if found.stress is None:
        return

    def strained(x: float) -> float:
        stretched = atoms.copy()
        stretched.set_cell(atoms.cell.array * [1, 1 + x, 1], scale_atoms=True)
        return energy(model, stretched, **ANION)

    assert abs(found.stress[0, 1, 1] * atoms.get_volume() - slope(strained)) < EXACT.forces_fd


@pytest.mark.parametrize(
    ("group", "options", "conditions"),
    [
        ("O(3)", {}, {}),
        ("O(3)", {"environment": {"field": True}}, {"field": (0.1, 0.0, 0.2)}),
        ("C_inf_v", {"environment": {"field": True, **PLANE}}, {"field": FIELD}),
        ("SO(2)", {"environment": PLANE, "vacuum_group": "O(3)"}, {}),
    ],
)
def test_neutral_singlets_get_the_energies_of_a_blind_model_to_the_last_bit(
    group: str,
    options: dict[str, Any],
    conditions: dict[str, Any],
    dtype: torch.dtype,
    tolerance: Tolerance,
) -> None:
    """Also after training of what reads charge; a blind model that is given charge changes nothing
    at first. Gradients of heights are sums in another order."""
    blind = force_field(group, **options, **BARE).to(dtype)
    environment = blind.config.environment.model_copy(update=BOTH)
    reading = blind.restrict(group, environment=environment)
    for model in (reading, with_random_shares(reading)):
        for spin in (None, 1):
            found = predict(model, ethanol(), spin=spin, **conditions)
            expected = predict(blind, ethanol(), **conditions)
            assert expected.forces.abs().max() > 1e-2
            assert torch.equal(found.energies, expected.energies)
            error = (found.forces - expected.forces).abs().max() / expected.forces.abs().max()
            assert error <= (tolerance.rounding if blind.environment.has_plane else 0)
    for ion in ({"charge": 1}, {"spin": 3}):
        changed = energy(
            reading, ethanol(), **conditions | ion if "field" not in conditions else ion
        )
        assert abs(changed - energy(reading, ethanol())) > 1e-3


def test_a_charged_structure_in_a_field_raises() -> None:
    model = reads_both("C_inf_v", environment={"field": True})
    model.check_conditions(Conditions(charge=1))
    model.check_conditions(Conditions(field=FIELD, spin=3))
    with pytest.raises(
        ValueError, match=r"total charge is 1 and electric_field is \[0.0, 0.0, 0.3"
    ):
        model.check_conditions(Conditions(charge=1, field=FIELD))


def test_energies_of_distant_copies_add_up_if_they_have_the_same_charge() -> None:
    model, atoms = reads_both(), ethanol()
    one, two = energy(model, atoms, charge=-1, spin=2), far_apart(atoms, atoms)
    assert abs(energy(model, two, charge=-2, spin=3) - 2 * one) < EXACT.invariance
    assert abs(energy(model, two, charge=-1, spin=2) - 2 * one) > 1e-3
    cell = crystal()
    per_cell = energy(model, cell, charge=1)
    assert abs(energy(model, cell * (2, 1, 2), charge=4) - 4 * per_cell) < EXACT.invariance


def test_neutral_structures_stay_additive_but_distant_molecules_share_the_charge_of_an_ion() -> (
    None
):
    """What does not hold is asserted, too: it is documented."""
    model, one, other = reads_both(), ethanol(), molecule("H2O")
    both = far_apart(one, other)
    assert abs(energy(model, both) - energy(model, one) - energy(model, other)) < EXACT.invariance
    apart = energy(model, one, charge=1) + energy(model, other)
    assert abs(energy(model, both, charge=1) - apart) > 1e-3


def test_shares_add_up_to_the_totals_and_follow_the_elements() -> None:
    model = reads_both()
    graphs = [graph_of(model, ethanol(), **ANION), graph_of(model, crystal(), charge=2)]
    shares = model.shares.shares(AtomicGraph.batch_of(graphs)).detach()
    sums = torch.stack([part.sum(0) for part in shares.split([graph.n_atoms for graph in graphs])])
    assert (sums - torch.tensor([[-1.0, 1.0], [2.0, 0.0]])).abs().max() < EXACT.rounding
    hydrogens = shares[: graphs[0].n_atoms][graphs[0].species == 0]
    assert torch.equal(hydrogens, hydrogens[:1].expand_as(hydrogens))
    assert (shares[0] - hydrogens[0]).abs().min() > 1e-3


def test_a_free_ion_has_an_energy_and_a_free_neutral_atom_its_e0() -> None:
    model = force_field(environment=BOTH, energy_scale=2.0)
    atom = ase.Atoms("O")
    assert energy(model, atom) == -2040.0
    of_charge = model.share_energy.detach()[:8].reshape(2, 4)[:, 2]  # linear, quadratic
    for charge in (-1, 1, 2):
        expected = -2040 + 2.0 * float(of_charge @ torch.tensor([charge, charge**2]).double())
        assert energy(model, atom, charge=charge) == pytest.approx(expected, abs=1e-9)


def test_predictions_of_a_batch_equal_those_of_its_structures() -> None:
    model = reads_both("C_inf_v")
    each = [graph_of(model, ethanol(), charge=charge) for charge in (0, 1, -2)]
    together = model(AtomicGraph.batch_of(each))
    apart = [model(graph) for graph in each]
    assert (together.energy - torch.cat([p.energy for p in apart])).abs().max() < EXACT.parity
    assert (together.forces - torch.cat([p.forces for p in apart])).abs().max() < EXACT.gradient


@pytest.mark.parametrize(
    ("options", "smaller"),
    [({}, "C_inf_v"), ({"environment": PLANE, "vacuum_group": "O(3)"}, "C3v")],
)
def test_restricted_models_keep_the_energies_of_ions(options: dict[str, Any], smaller: str) -> None:
    group = "C_inf_v" if options else "O(3)"
    model = reads_both(group, layers=1, correlation=2, **options)
    for restricted in (model.restrict(smaller), model.restrict(smaller).restrict("C1")):
        for conditions in ({}, ANION, {"charge": 2}):
            found, expected = (predict(m, ethanol(), **conditions) for m in (restricted, model))
            assert (found.energies - expected.energies).abs().max() < EXACT.parity
            assert (found.forces - expected.forces).abs().max() < EXACT.gradient


def test_spin_can_be_added_to_a_model_that_reads_charge() -> None:
    """As charge to one that reads spin, and both with a plane; nothing can be taken away."""
    for first, second in (("charge", "spin"), ("spin", "charge")):
        model = force_field(environment={first: True}, **BARE)
        reading = model.restrict("O(3)", environment=EnvironmentConfig(**BOTH))
        smaller = model.restrict("C_inf_v", environment=EnvironmentConfig(**BOTH, **PLANE))
        for changed in (reading, smaller):
            found = predict(changed, ethanol(), **{first: 2})
            expected = predict(model, ethanol(), **{first: 2})
            limit = 0 if changed is reading else EXACT.parity
            assert (found.energies - expected.energies).abs().max() <= limit
        assert energy(reading, ethanol(), **{second: 2}) == energy(reading, ethanol())
        assert energy(with_random_shares(reading), ethanol(), **{second: 2}) != energy(
            reading, ethanol()
        )
        with pytest.raises(ValueError, match="which cannot become"):
            reading.restrict("O(3)", environment=EnvironmentConfig(**{first: True}))


def test_a_correction_keeps_what_the_vacuum_model_makes_of_a_charge() -> None:
    vacuum = reads_both(layers=1, correlation=2)
    environment = EnvironmentConfig(**BOTH, **PLANE)
    new = {"group": "C_inf_v", "vacuum_group": "O(3)", "environment": environment}
    config = vacuum.config.model_copy(update=new)
    model = build_corrected(vacuum, config)
    found, expected = predict(model, ethanol(), **ANION), predict(vacuum, ethanol(), **ANION)
    assert torch.equal(found.energies, expected.energies)
    blind = {"environment": EnvironmentConfig(**PLANE)}
    with pytest.raises(
        ValueError, match=r"\(True, True\) in the trained .* \(False, False\) in th"
    ):
        build_corrected(vacuum, config.model_copy(update=blind))


def test_a_saved_model_reads_charge(tmp_path: Path) -> None:
    model = reads_both()
    model.save(tmp_path / "m.sikff")
    loaded = load(tmp_path / "m.sikff")
    assert loaded.config.environment.charge and loaded.config.environment.spin
    found, expected = (predict(m, ethanol(), **ANION) for m in (loaded, model))
    assert torch.equal(found.forces, expected.forces)


@pytest.mark.parametrize(
    ("environment", "conditions", "message"),
    [
        ({}, {"charge": 1}, "total charge of a structure is 1, which the model does not read"),
        ({}, {"spin": 3}, "spin multiplicity of a structure is 3, which the model does not read"),
        ({}, {"charge": 0, "spin": 1}, None),
        ({"charge": True}, {"charge": 5}, None),
        ({"charge": True, "charge_min": -1, "charge_max": 0}, {"charge": -1}, None),
        (
            {"charge": True, "charge_min": -1, "charge_max": 0},
            {"charge": 1},
            "is 1, beyond the training data of the model, -1 to 0",
        ),
        ({"spin": True, "spin_min": 2, "spin_max": 2}, {}, "is 1, beyond the training data"),
        ({"spin": True, "spin_min": 1, "spin_max": 2}, {"spin": 2}, None),
    ],
)
def test_a_charge_that_is_not_read_or_beyond_the_data_is_a_warning(
    environment: dict[str, Any], conditions: dict[str, Any], message: str | None
) -> None:
    model = force_field(environment=environment)
    warnings = model.extrapolation_warnings(graph_of(model, ethanol(), **conditions))
    if message is None:
        assert warnings == {}
    else:
        (kind,) = warnings
        assert message in warnings[kind]
        assert kind in (*conditions, "spin")
