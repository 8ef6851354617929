"""Places above crystal surfaces: exact symmetry under the wallpaper group, and what follows."""

from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule

from force_fields import SMALL, graph_of, predict
from sikff import ForceField, ForceFieldConfig, SymmetryGroup, load
from sikff.engines import Static
from sikff.forcefield import EnvironmentConfig
from sikff.graph.conditions import Conditions
from sikff.surface import Wallpaper
from tolerances import TOLERANCES
from wallpaper_cases import LARGER, NAMES, TILT, lattice_of, wallpaper

ORIGIN = np.array([0.3, 0.2, 0.1])
FLAT = {"plane_origin": (0.0, 0.0, 0.0), "plane_range": 8.0}
SQUARE = {"lattice": ((3.0, 0.0), (0.0, 3.0)), "wallpaper": "p4mm"}
DTYPES = {torch.float64: 1e-9, torch.float32: 1e-6}  # eV and eV/Å


def force_field(environment: dict[str, Any], seed: int = 0, **options: Any) -> ForceField:
    """A small float64 model with random weights, all of them different from zero."""
    settings = {**SMALL, "atomic_energies": {}, "environment": environment, **options}
    config = ForceFieldConfig(elements=("H", "O"), **settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ForceField(config).double().eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def tilted(name: str, **options: Any) -> ForceField:
    """A model of a wallpaper group on a plane that is not z = 0."""
    lattice = tuple(map(tuple, lattice_of(name)))
    plane = {"plane_origin": tuple(ORIGIN), "plane_range": 8.0}
    environment = {**plane, "lattice": lattice, "wallpaper": name, "stars": 3}
    return force_field(environment, axis=tuple(TILT[:, 2]), vacuum_group="O(3)", **options)


def water(height: float = 2.0) -> ase.Atoms:
    """A water molecule in no special place above the plane z = 0."""
    atoms = molecule("H2O")
    atoms.rotate(40, (1, 2, 3))
    atoms.positions += np.array([0.37, 0.81, height]) - [0, 0, atoms.positions[:, 2].min()]
    return atoms


def over_tilted() -> ase.Atoms:
    atoms = water()
    atoms.positions = atoms.positions @ TILT.T + ORIGIN
    return atoms


def changes(model: ForceField, operations: Wallpaper, shift: np.ndarray) -> tuple[float, float]:
    """By how much energies and forces break a wallpaper group and a shift (eV, eV/Å), for forces
    of the size of 1 eV/Å."""
    atoms = over_tilted()
    before = predict(model, atoms)
    energy, force = [], []
    for r, t in zip(operations.rotations, operations.translations, strict=True):
        image = atoms.copy()
        image.positions = (atoms.positions - ORIGIN) @ r.T + t + shift + ORIGIN
        after = predict(model, image)
        energy.append(float(abs(after.energy - before.energy)))
        turned = before.forces @ torch.tensor(r.T, dtype=before.forces.dtype)
        force.append(float(abs(after.forces - turned).max()))
    size = max(1.0, float(abs(before.forces).max()))
    return max(energy) / size, max(force) / size


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_energies_and_forces_have_the_symmetry_of_the_wallpaper_group(
    name: str, dtype: torch.dtype
) -> None:
    model, group = tilted(name).to(dtype), wallpaper(name)
    assert model.group == group.point_group
    translation = 3 * group.lattice[0] - 7 * group.lattice[1]
    assert max(changes(model, group, translation)) < DTYPES[dtype]
    assert changes(model, group, 0.2 * group.lattice[0])[0] > 1e-4


@pytest.mark.parametrize("name", [name for name in NAMES if LARGER.get(name)])
def test_a_larger_wallpaper_group_of_the_same_lattice_is_broken(name: str) -> None:
    larger = LARGER[name]
    lattice = lattice_of(larger)
    environment = {"plane_origin": tuple(ORIGIN), "plane_range": 8.0, "stars": 3}
    environment |= {"lattice": tuple(map(tuple, lattice)), "wallpaper": name}
    model = force_field(environment, axis=tuple(TILT[:, 2]), vacuum_group="O(3)")
    assert changes(model, Wallpaper(name, lattice), np.zeros(3))[0] < 1e-9
    assert changes(model, Wallpaper(larger, lattice), np.zeros(3))[0] > 1e-6


def test_beyond_the_range_a_model_is_exactly_that_of_the_vacuum() -> None:
    model = force_field({**FLAT, **SQUARE, "surfaces": ["salt"]}, vacuum_group="O(3)")
    near, far = water(), water(8.001)
    for atoms, is_same in ((far, True), (near, False)):
        at_surface, in_vacuum = (
            predict(model, atoms, surface=name).energy for name in ("salt", "vacuum")
        )
        assert bool(at_surface == in_vacuum) is is_same
    moved = far.copy()
    moved.positions[:, :2] += 0.7
    limit = TOLERANCES[torch.float64].parity
    assert abs(predict(model, moved).energy - predict(model, far).energy) < limit


def test_forces_are_gradients_along_the_surface_too() -> None:
    model, atoms, step = force_field({**FLAT, **SQUARE}), water(), 1e-4
    forces = predict(model, atoms).forces
    assert abs(forces.sum(0)[:2]).min() > 1e-3  # the surface pushes the molecule along itself
    for direction in range(3):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[0, direction] += sign * step
            energies.append(float(predict(model, moved).energy))
        difference = (energies[0] - energies[1]) / (2 * step)
        assert difference == pytest.approx(
            -float(forces[0, direction]), abs=TOLERANCES[torch.float64].forces_fd
        )


@pytest.mark.parametrize(("name", "stars"), [("p4mm", 2), ("p6mm", 2), ("p4gm", 3), ("pg", 4)])
def test_one_body_energies_contain_the_fourier_series_of_a_physisorption_potential(
    name: str, stars: int
) -> None:
    """Steele's potential: sum over stars of coefficients of the height times cosines, averaged
    over the wallpaper group (Surf. Sci. 36, 317, 1973)."""
    lattice = lattice_of(name) @ TILT
    environment = {**FLAT, "lattice": tuple(map(tuple, lattice)), "wallpaper": name, "stars": stars}
    model, group = force_field(environment), Wallpaper(name, lattice)
    rng = np.random.default_rng(0)
    count = 200
    positions = rng.uniform(-9, 9, (count, 3))
    positions[:, 2] = rng.uniform(1, 7, count)
    graph = graph_of(model, ase.Atoms(f"O{count}", positions))
    _, factors = model._attributes(graph)  # what the last, linear layer of the readout multiplies

    def steele(g: np.ndarray, phase: float) -> np.ndarray:
        images = np.stack(
            [positions @ r.T + t for r, t in zip(group.rotations, group.translations, strict=True)]
        )
        return np.cos(images @ g + phase).mean(axis=0)

    heights = model.environment._height_functions(graph)[:, 0].numpy()
    largest = 0.0
    for m in ((1, 0), (0, 1), (1, 1), (1, -1)):
        g = 2 * np.pi * np.array(m) @ group.dual
        if np.linalg.norm(g) > model.environment.places.waves[0].lengths.max() + 1e-6:
            continue
        for phase in (0.0, 1.0):
            potential = steele(g, phase) * (heights @ rng.normal(size=heights.shape[1]))
            found = np.linalg.lstsq(factors.numpy(), potential, rcond=None)[0]
            assert abs(factors.numpy() @ found - potential).max() < 1e-10
            largest = max(largest, abs(potential).max())
    assert largest > 1e-2


def test_the_table_form_and_replayed_operations_agree_with_the_model() -> None:
    model = force_field({**FLAT, **SQUARE}, vacuum_group="O(3)").freeze()
    graph = graph_of(model, water())
    static, eager = Static(model)(graph), model(graph)
    limit = TOLERANCES[torch.float64].parity
    assert abs(static.energy - eager.energy).max() < limit
    assert abs(static.forces - eager.forces).max() < limit


def test_positions_may_be_wrapped_into_a_commensurate_cell() -> None:
    model = force_field({**FLAT, **SQUARE})
    atoms = water()
    atoms.set_cell([6.0, 9.0, 40.0])
    atoms.pbc = (True, True, False)
    before = predict(model, atoms)
    together = atoms.copy()
    together.positions += [6.0 * 7, -9.0 * 5, 0.0]
    apart = atoms.copy()  # each atom by a translation of its own
    apart.positions += np.array([[6.0, 0, 0], [-12.0, 9.0, 0], [0, 90.0, 0]])
    wrapped = atoms.copy()
    wrapped.wrap()
    for moved in (together, apart, wrapped):
        after = predict(model, moved)
        assert abs(after.energy - before.energy) < 1e-10
        assert abs(after.forces - before.forces).max() < 1e-10


def test_a_cell_that_is_no_multiple_of_the_lattice_is_refused() -> None:
    model, atoms = force_field({**FLAT, **SQUARE}), water()
    atoms.set_cell([6.0, 9.4, 40.0])
    for pbc in ((True, False, False), (False, False, True)):
        atoms.pbc = pbc
        model.check_cell(atoms, Conditions())
    atoms.pbc = (True, True, False)
    with pytest.raises(ValueError, match=r"0\.4 Å off the translations of the surface"):
        model.check_cell(atoms, Conditions())


def test_surfaces_have_lattices_of_their_own() -> None:
    lattices = {"a": ((3.0, 0.0), (0.0, 3.0)), "b": ((4.0, 0.0), (0.0, 4.0))}
    model = force_field({**FLAT, "lattice": lattices, "wallpaper": "p4mm"}, vacuum_group="O(3)")
    assert model.surfaces == ("a", "b")
    atoms, moved = water(), water()
    limit = TOLERANCES[torch.float64].parity
    for name, length, other in (("a", 3.0, 4.0), ("b", 4.0, 3.0)):
        energy = predict(model, atoms, surface=name).energy
        for shift, is_same in ((length, True), (other, False)):
            moved.positions = atoms.positions + np.array([shift, 0, 0])
            change = abs(predict(model, moved, surface=name).energy - energy)
            assert bool(change < limit) is is_same


def test_both_walls_of_a_slit_may_be_corrugated() -> None:
    slit = {**FLAT, "slit_width": 7.0, **SQUARE}
    model, atoms = force_field(slit), water()
    turned = atoms.copy()
    turned.positions = atoms.positions @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]) + [3, 6, 0]
    energy = predict(model, atoms).energy
    assert abs(predict(model, turned).energy - energy) < TOLERANCES[torch.float64].invariance
    turned.positions[:, 2] = 7.0 - turned.positions[:, 2]  # the walls differ
    assert abs(predict(model, turned).energy - energy) > 1e-4


@pytest.mark.parametrize("vacuum_group", [None, "O(3)"])
@pytest.mark.parametrize("group", [None, "C4", "C2v", "C1"])
def test_a_model_of_a_flat_surface_becomes_one_with_places(
    group: str | None, vacuum_group: str | None
) -> None:
    flat = force_field(FLAT, group="C_inf_v", vacuum_group=vacuum_group)
    places = flat.restrict(group, environment=EnvironmentConfig(**FLAT, **SQUARE))
    assert places.group.name == (group or "C4v")
    assert_same_predictions(flat, places)
    for parameter in places.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    moved = water()
    moved.positions += [0.4, 0.2, 0]
    assert abs(predict(places, moved).energy - predict(places, water()).energy) > 1e-4


def test_a_model_of_free_molecules_becomes_one_with_places() -> None:
    free = force_field({})
    assert_same_predictions(free, free.restrict(environment=EnvironmentConfig(**FLAT, **SQUARE)))
    axial = free.restrict("C_inf_v", environment=EnvironmentConfig(**FLAT))
    chain = axial.restrict("C4", environment=EnvironmentConfig(**FLAT, **SQUARE))
    assert_same_predictions(free, chain)


def test_surfaces_and_planes_are_added_to_trained_models() -> None:
    two = force_field({**FLAT, "surfaces": ["a", "b"]}, group="C_inf_v", vacuum_group="O(3)")
    three = two.restrict(environment=EnvironmentConfig(**FLAT, surfaces=("a", "b", "c")))
    assert_same_predictions(two, three, surface="b")
    in_field = force_field({"field": True}, group="C_inf_v")
    on_plane = in_field.restrict(environment=EnvironmentConfig(**FLAT, field=True))
    assert_same_predictions(in_field, on_plane, field=(0.0, 0.0, 0.2))


def assert_same_predictions(old: ForceField, new: ForceField, **conditions: Any) -> None:
    one, other = (predict(model, water(), **conditions) for model in (old, new))
    size = abs(one.forces).max()
    assert size > 1e-6
    limit = TOLERANCES[torch.float64].parity * size
    assert abs(one.energy - other.energy).max() < limit
    assert abs(one.forces - other.forces).max() < limit


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({**FLAT, "lattice": SQUARE["lattice"]}, "lattice without wallpaper"),
        ({**FLAT, "wallpaper": "p4mm"}, "wallpaper without lattice"),
        ({**SQUARE}, "without plane_origin"),
        ({**FLAT, **SQUARE, "wallpaper": "p6mm"}, "needs a hexagonal lattice"),
        ({**FLAT, **SQUARE, "wallpaper": "p5"}, "p5"),
        ({**FLAT, **SQUARE, "lattice": ((3.0, 0.0, 1.0), (0.0, 3.0, 0.0))}, "square lattice"),
        (
            {**FLAT, "lattice": ((3.0, 0.0, 4.0), (0.0, 3.0, 0.0)), "wallpaper": "p1"},
            "not perpendicular to the axis",
        ),
        (
            {**FLAT, "lattice": {"a": SQUARE["lattice"]}, "wallpaper": {"b": "p4mm"}},
            "expected one for each surface",
        ),
        (
            {
                **FLAT,
                "lattice": {"a": SQUARE["lattice"], "b": SQUARE["lattice"]},
                "wallpaper": {"a": "p4mm", "b": "p4"},
            },
            "point groups C4v and C4",
        ),
    ],
)
def test_settings_that_describe_no_surface_are_refused(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        ForceFieldConfig(elements=("H", "O"), environment=settings)


@pytest.mark.parametrize("group", ["C6v", "C_inf_v", "D4", "O(3)"])
def test_a_group_that_the_surface_does_not_have_is_refused(group: str) -> None:
    with pytest.raises(ValueError, match="p4mm has the point group C4v: a larger group"):
        ForceFieldConfig(elements=("H",), group=group, environment={**FLAT, **SQUARE})


@pytest.mark.parametrize(
    ("name", "stars"), [("p4mm", 1), ("p6mm", 1), ("p4gm", 2), ("p2mm", 2), ("p1", 2)]
)
def test_by_default_there_are_as_many_stars_as_tell_all_places_apart(
    name: str, stars: int, tmp_path: Path
) -> None:
    lattice = tuple(map(tuple, lattice_of(name)))
    environment = {**FLAT, "lattice": lattice, "wallpaper": name}
    model = force_field(environment, axis=tuple(TILT[:, 2]))
    assert model.config.environment.stars == stars
    model.save(tmp_path / "model.sikff")
    assert load(tmp_path / "model.sikff").config == model.config


def broken(model: ForceField, wallpaper: Wallpaper) -> float:
    """By how much energies change under the operations of a wallpaper group (eV), for forces of the
    size of 1 eV/Å."""
    atoms = water()
    energy, forces, most = *predict(model, atoms)[:2], 0.0
    for r, t in zip(wallpaper.rotations, wallpaper.translations, strict=True):
        image = atoms.copy()
        image.positions = atoms.positions @ r.T + t
        most = max(most, abs(float(predict(model, image).energy - energy)))
    return most / max(1.0, float(abs(forces).max()))


@pytest.mark.parametrize(
    ("name", "steps", "vacuum_group"),
    [
        ("p4mm", ("C4",), None),
        ("p4mm", ("C2v", "C2"), "O(3)"),
        ("p6mm", ("C3v",), "O(3)"),
        ("p2gg", ("C1",), "O(3)"),
    ],
)
def test_a_model_with_places_is_restricted_to_fewer_operations_of_its_lattice(
    name: str, steps: tuple[str, ...], vacuum_group: str | None, tmp_path: Path
) -> None:
    lattice = lattice_of(name) @ TILT
    environment = {**FLAT, "lattice": tuple(map(tuple, lattice)), "wallpaper": name, "stars": 3}
    model = force_field(environment, vacuum_group=vacuum_group)
    larger = Wallpaper(name, lattice)
    for group in steps:
        restricted = model.restrict(group)
        assert restricted.group.name == group
        assert_same_predictions(model, restricted)
        assert broken(restricted, larger) < 1e-9
        n_weights = [sum(p.numel() for p in each.parameters()) for each in (model, restricted)]
        assert n_weights[0] < n_weights[1]
        with torch.no_grad():
            for parameter in restricted.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64))
        assert broken(restricted, larger) > 1e-7
        model, operations = restricted, zip(larger.operations, larger.rotations, strict=True)
        kept = [o for o, r in operations if SymmetryGroup.from_generators([r]) <= model.group]
        larger = Wallpaper.from_generators(lattice, kept)
        assert broken(model, larger) < 1e-9
    model.save(tmp_path / "model.sikff")
    assert_same_predictions(model, load(tmp_path / "model.sikff"))


def test_flat_models_become_ones_with_places_and_then_lose_operations() -> None:
    flat = force_field({**FLAT, "surfaces": ["a", "b"]}, group="C_inf_v", vacuum_group="O(3)")
    lattices = {"a": ((3.0, 0.0), (0.0, 3.0)), "b": ((4.0, 0.0), (0.0, 4.0))}
    places = EnvironmentConfig(**FLAT, surfaces=("a", "b"), lattice=lattices, wallpaper="p4mm")
    model = flat.restrict(environment=places)
    assert_same_predictions(flat, model, surface="b")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    for group in ("C2v", "C1"):
        restricted = model.restrict(group)
        assert_same_predictions(model, restricted, surface="a")
        assert_same_predictions(model, restricted, surface="b")
        model = restricted


def test_places_in_slits_and_beside_charges_lose_operations() -> None:
    slit = force_field({**FLAT, "slit_width": 7.0, **SQUARE})
    assert_same_predictions(slit, slit.restrict("C2"))
    with_charge = force_field({**FLAT, **SQUARE, "charge": True})
    assert_same_predictions(with_charge, with_charge.restrict("C2"), charge=1)


def test_a_group_of_places_must_lie_between_group_and_point_group() -> None:
    with pytest.raises(ValueError, match="place_group is C2; expected a group between group"):
        force_field({**FLAT, **SQUARE}, group="C4", place_group="C2")
    with pytest.raises(ValueError, match="not a subgroup of the model's group C4"):
        force_field({**FLAT, **SQUARE}, group="C4").restrict("C2v")
