"""The environment: heights above planes, surfaces of several kinds, and a uniform field."""

import dataclasses

import ase
import numpy as np
import pytest
import torch

from force_fields import elements_of, ethanol, force_field, graph_of, moved, predict, slope
from sikff import SymmetryGroup
from sikff.forcefield import Prediction
from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
AXIS = np.array([1.0, 2.0, 2.0]) / 3


def test_a_plane_breaks_translation_along_its_normal_only() -> None:
    model = force_field("C_inf_v", axis=tuple(AXIS), environment={"plane_origin": (0.0, 0.0, -2.0)})
    atoms = ethanol()
    reference = predict(model, atoms)
    sideways, upwards, far, farther = (atoms.copy() for _ in range(4))
    sideways.positions += np.cross(AXIS, [0.3, 4.0, -2.0])
    upwards.positions += 0.5 * AXIS
    far.positions += 30 * AXIS
    farther.positions += 55 * AXIS
    assert abs(float(predict(model, sideways).energy - reference.energy)) < LIMITS.invariance * 9
    assert abs(float(predict(model, upwards).energy - reference.energy)) > 1e-3
    assert float(predict(model, far).energy) == pytest.approx(
        float(predict(model, farther).energy), abs=LIMITS.invariance
    )
    net = reference.forces.sum(0)
    across = net - (net @ torch.from_numpy(AXIS)) * torch.from_numpy(AXIS)
    assert net.norm() > 1e-3
    assert across.norm() < LIMITS.invariance * 9


def test_forces_include_the_slope_of_the_plane() -> None:
    model = force_field("SO(2)", environment={"plane_origin": (0.0, 0.0, -2.0)})
    atoms = ethanol()
    net = float(predict(model, atoms).forces[:, 2].sum())

    def along(x: float) -> float:
        shifted = atoms.copy()
        shifted.positions[:, 2] += x
        return float(predict(model, shifted).energy)

    assert abs(net + slope(along)) < LIMITS.forces_fd


def test_a_single_atom_has_an_energy_at_the_plane() -> None:
    model = force_field("C_inf_v", environment={"plane_origin": (0.0, 0.0, 0.0)})
    near = predict(model, ase.Atoms("O", positions=[[0, 0, 1.5]]))
    far = predict(model, ase.Atoms("O", positions=[[0, 0, 40.0]]))
    assert abs(float(near.energy - far.energy)) > 1e-3
    assert abs(float(near.forces[0, 2])) > 1e-3
    assert float(far.energy) == -2040.0


def test_an_axial_model_reads_the_field_along_its_axis() -> None:
    model = force_field("C_inf_v", axis=tuple(AXIS), environment={"field": True})
    atoms = ethanol()
    energies = [
        float(predict(model, atoms, field=tuple(f * AXIS)).energy) for f in (0.0, 0.3, -0.3)
    ]
    assert len({round(e, 6) for e in energies}) == 3
    for g in elements_of(model.group):
        result = predict(model, moved(atoms, g), field=tuple(0.3 * AXIS))
        assert abs(float(result.energy) - energies[1]) < LIMITS.invariance * 9
    model.check_conditions(Conditions(tuple(0.5 * AXIS)))
    with pytest.raises(ValueError, match="not along"):
        model.check_conditions(Conditions((0.3, 0.0, 0.0)))


def test_an_o3_model_is_invariant_if_atoms_and_field_rotate_together() -> None:
    model = force_field("O(3)", environment={"field": True})
    atoms, field = ethanol(), np.array([0.1, -0.2, 0.3])
    reference = predict(model, atoms, field=tuple(field))
    assert abs(float(reference.energy - predict(model, atoms).energy)) > 1e-3
    for g in elements_of(SymmetryGroup("O(3)")):
        together = predict(model, moved(atoms, g), field=tuple(g @ field))
        assert abs(float(together.energy - reference.energy)) < LIMITS.invariance * 9
    alone = predict(model, moved(atoms, g), field=tuple(field))
    assert abs(float(alone.energy - reference.energy)) > 1e-4
    model.check_conditions(Conditions(tuple(field)))


def test_a_field_raises_if_the_model_reads_none() -> None:
    with pytest.raises(ValueError, match="reads no field"):
        force_field("O(3)").check_conditions(Conditions((0.0, 0.0, 0.1)))
    force_field("O(3)").check_conditions(Conditions())


@pytest.mark.parametrize(
    "environment", [{"field": True}, {"plane_origin": (0.0, 0.0, -2.0)}], ids=["field", "plane"]
)
def test_with_a_vacuum_group_only_the_environment_breaks_the_symmetry(environment: dict) -> None:
    model = force_field("C_inf_v", vacuum_group="O(3)", environment=environment)
    atoms = ethanol()

    def energy(g: np.ndarray, strength: float, height: float) -> float:
        turned = moved(atoms, g)
        turned.positions[:, 2] += height
        return float(predict(model, turned, field=[0.0, 0.0, strength]).energy)

    outside, inside = (0.0, 100.0), (0.3, 0.0)
    identity = np.eye(3)
    assert abs(energy(identity, *inside) - energy(identity, *outside)) > 1e-3
    for g in elements_of(SymmetryGroup("O(3)")):
        assert abs(energy(g, *outside) - energy(identity, *outside)) < LIMITS.invariance * 9
        assert abs(energy(g, *inside) - energy(identity, *inside)) > 1e-4
    for g in elements_of(SymmetryGroup("C_inf_v")):
        assert abs(energy(g, *inside) - energy(identity, *inside)) < LIMITS.invariance * 9


PLANE = {"plane_origin": (0.0, 0.0, -2.0), "plane_range": 6.0}
TWO_SURFACES = {**PLANE, "surfaces": ("graphene", "NaCl")}


@pytest.mark.parametrize("vacuum_group", [None, "O(3)"])
def test_beyond_its_range_a_plane_has_no_effect(vacuum_group: str | None) -> None:
    model = force_field("C_inf_v", environment=PLANE, vacuum_group=vacuum_group)
    atoms = ethanol()
    vacuum = predict(model, atoms, surface="vacuum")

    def at(height: float) -> Prediction:
        """With the lowest atom at this height above the plane."""
        raised = atoms.copy()
        raised.positions[:, 2] += height - 2.0 - atoms.positions[:, 2].min()
        return predict(model, raised)

    assert abs(float(at(2.0).energy - vacuum.energy)) > 1e-3
    for height in (6.0, 25.0, 1000.0):
        assert abs(float(at(height).energy - vacuum.energy)) < LIMITS.invariance
        assert (at(height).forces - vacuum.forces).abs().max() < LIMITS.invariance


def test_attributes_and_two_derivatives_are_continuous() -> None:
    """Values and two derivatives just below and just above the ends of the range."""
    model = force_field("C_inf_v", environment=PLANE)

    def derivatives(height: float) -> torch.Tensor:
        graph = graph_of(model, ase.Atoms("H", positions=[[0, 0, height - 2.0]]))

        def attributes(z: torch.Tensor) -> torch.Tensor:
            positions = torch.stack([z, z, z], dim=-1)
            return model.environment.scalars(dataclasses.replace(graph, positions=positions))

        functions = [attributes]
        for _ in range(2):
            functions.append(torch.func.jacfwd(functions[-1]))
        return torch.stack([f(graph.positions[:, 2]).flatten() for f in functions])

    for edge in (0.0, 6.0):
        jump = derivatives(edge + 1e-7) - derivatives(edge - 1e-7)
        assert jump.abs().max() < 1e-5
    assert not derivatives(6.0 + 1e-7).any()
    assert (derivatives(5.0).abs().amax(dim=1) > 1e-3).all()


def test_attributes_are_exactly_zero_where_nothing_acts() -> None:
    model = force_field("C_inf_v", environment={**TWO_SURFACES, "field": True})
    atoms = ase.Atoms("H3", positions=[[0, 0, -1.0], [0, 0, 3.999], [0, 3, 4.0]])

    def scalars(**conditions: object) -> torch.Tensor:
        return model.environment.scalars(graph_of(model, atoms, **conditions))

    assert scalars(surface="vacuum").shape == (3, model.environment.n_scalars) == (3, 17)
    assert not scalars(surface="vacuum").any()
    first, second = scalars(surface="graphene"), scalars(surface="NaCl")
    assert first.any(dim=1).tolist() == [True, True, False]
    assert torch.equal(first[:, 1:9], second[:, 9:])
    assert not first[:, 9:].any()
    assert not second[:, :9].any()


def test_conditions_move_the_surface() -> None:
    model = force_field("C_inf_v", axis=tuple(AXIS), environment={"plane_origin": (0.0, 0.0, -2.0)})
    atoms = ethanol()
    reference = predict(model, atoms)
    shift = 0.7 * AXIS + np.cross(AXIS, [0.3, 4.0, -2.0])  # sideways is nothing
    raised = predict(model, atoms, origin=tuple(np.array([0.0, 0.0, -2.0]) + shift))
    assert abs(float(raised.energy - reference.energy)) > 1e-3
    atoms.positions += 0.7 * AXIS
    same = predict(model, atoms, origin=tuple(np.array([0.0, 0.0, -2.0]) + shift))
    assert abs(float(same.energy - reference.energy)) < LIMITS.invariance * 9


def test_surfaces_differ_and_structures_of_a_batch_are_independent() -> None:
    model = force_field("C_inf_v", environment=TWO_SURFACES)
    given: list[dict] = [{"surface": name} for name in ("graphene", "NaCl", "vacuum")]
    given.append({"surface": "NaCl", "origin": (0.0, 0.0, -1.5)})
    graphs = [graph_of(model, ethanol(), **conditions) for conditions in given]
    together = model(AtomicGraph.batch_of(graphs))
    alone = [model(graph) for graph in graphs]
    energies = torch.cat([prediction.energy for prediction in alone])
    assert len({round(energy, 5) for energy in energies.tolist()}) == 4
    assert (together.energy - energies).abs().max() < LIMITS.parity * energies.abs().max()
    forces = torch.cat([prediction.forces for prediction in alone])
    assert (together.forces - forces).abs().max() < LIMITS.gradient * forces.abs().max()


@pytest.mark.parametrize("group", ["C_inf_v", "D_inf_h"])
@pytest.mark.parametrize("width", [7.0, 30.0])
def test_a_slit_has_two_walls(group: str, width: float) -> None:
    model = force_field(group, environment={**PLANE, "slit_width": width})
    atoms = ethanol()

    def energy(height: float, upside_down: bool = False) -> float:
        """Of the molecule so high above the lower wall, or so far below the upper one."""
        held = moved(atoms, np.diag([1.0, 1.0, -1.0])) if upside_down else atoms.copy()
        held.positions[:, 2] += width - height - 2.0 if upside_down else height - 2.0
        return float(predict(model, held).energy)

    if width > 12:
        vacuum = float(predict(model, atoms, surface="vacuum").energy)
        assert abs(energy(width / 2) - vacuum) < LIMITS.invariance
        assert abs(energy(2.5) - vacuum) > 1e-3
    same = abs(energy(2.5) - energy(2.5, upside_down=True))
    assert same < LIMITS.invariance * 9 if group == "D_inf_h" else same > 1e-3
    for height in (2.5, width - 2.5):
        atoms_there = atoms.copy()
        atoms_there.positions[:, 2] += height - 2.0
        net = float(predict(model, atoms_there).forces[:, 2].sum())
        derivative = slope(lambda x, at=height: energy(at + x))
        assert abs(net) > 1e-4
        assert abs(net + derivative) < LIMITS.forces_fd


@pytest.mark.parametrize("height", [-1.0, 0.0, 0.8, 5.9, 6.0])
def test_forces_are_exact_at_every_height(height: float) -> None:
    model = force_field("C_inf_v", environment={**PLANE, "field": True}, vacuum_group="O(3)")
    atoms = ase.Atoms("OH", positions=[[0.1, 0.2, 0.0], [0.9, 0.2, 0.6]])
    atoms.positions[:, 2] += height - 2.0
    conditions = {"field": (0.0, 0.0, 0.2), "origin": (5.0, 5.0, -2.0)}
    forces = predict(model, atoms, **conditions).forces

    def along(x: float, atom: int, axis: int) -> float:
        shifted = atoms.copy()
        shifted.positions[atom, axis] += x
        return float(predict(model, shifted, **conditions).energy)

    for atom, axis in ((0, 2), (1, 2), (1, 0)):
        derivative = slope(lambda x, at=(atom, axis): along(x, *at))
        assert abs(float(forces[atom, axis]) + derivative) < LIMITS.forces_fd


@pytest.mark.parametrize(
    ("group", "environment", "conditions", "message"),
    [
        ("O(3)", {}, {"origin": (0, 0, 1)}, "surface_origin is .* the model sees no plane"),
        ("O(3)", {}, {"surface": "Pt"}, "surface is 'Pt' but the model sees no plane"),
        ("SO(2)", PLANE, {"surface": "Pt"}, "'Pt'; the model expects no name"),
        (
            "SO(2)",
            TWO_SURFACES,
            {},
            "no surface is named; the model expects one of graphene, NaCl, vacuum",
        ),
        ("SO(2)", TWO_SURFACES, {"surface": "Pt"}, "'Pt'; the model expects one of graphene"),
        ("SO(2)", PLANE, {"field": (0, 0, 1)}, "the model reads no field"),
    ],
)
def test_conditions_that_the_model_cannot_read_raise(
    group: str, environment: dict, conditions: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        force_field(group, environment=environment).check_conditions(Conditions(**conditions))


def test_extrapolation_warnings() -> None:
    environment = {
        **PLANE,
        "field": True,
        "field_min": -0.1,
        "field_max": 0.5,
        "height_min": 1.5,
    }
    model = force_field("C_inf_v", environment=environment)
    atoms = ase.Atoms("OH", positions=[[0, 0, 1.0], [0, 0, 2.0]])

    def beyond(z: float = 0.0, **conditions: object) -> dict[str, str]:
        raised = atoms.copy()
        raised.positions[:, 2] += z
        return model.extrapolation_warnings(graph_of(model, raised, **conditions))

    assert beyond(field=(0, 0, 0.5)) == beyond(field=(0, 0, -0.1)) == {}
    warning = "field of {} V/Å is beyond the training data of the model, -0.1 to 0.5 V/Å"
    assert warning.format(0.6) in beyond(field=(0, 0, 0.6))["field"]
    # the sign counts, since the axis has one
    assert warning.format(-0.3) in beyond(field=(0, 0, -0.3))["field"]
    assert beyond(-1.5) == {}
    assert beyond(-1.6)["height"].startswith("an atom is 1.4 Å above the surface, lower than all")
    assert beyond(-1.6, surface="vacuum") == {}
    assert beyond(-1.6, origin=(0, 0, -2.2)) == {}
    assert (
        force_field("C_inf_v", environment=PLANE).extrapolation_warnings(graph_of(model, atoms))
        == {}
    )


@pytest.mark.parametrize(
    ("group", "limits", "inside", "outside"),
    [
        ("O(3)", {"field_min": 0.2, "field_max": 0.5}, (0.3, 0.3, 0), (0, 0, 0.1)),
        ("O(3)", {"field_max": 0.5}, (0, -0.5, 0), (0.4, 0.4, 0)),
        ("C_inf_v", {"field_max": 0.5}, (0, 0, -0.5), (0, 0, -0.6)),
        ("C1", {"field_min": 0.0, "field_max": 0.5}, (0, -0.5, 0), (0.4, 0.4, 0)),
    ],
)
def test_extrapolation_warnings_of_fields_along_the_directions_read(
    group: str, limits: dict, inside: tuple, outside: tuple
) -> None:
    model = force_field(group, environment={"field": True, **limits})
    atoms = ase.Atoms("OH", positions=[[0, 0, 1.0], [0, 0, 2.0]])
    assert model.extrapolation_warnings(graph_of(model, atoms, field=inside)) == {}
    assert "field" in model.extrapolation_warnings(graph_of(model, atoms, field=outside))
