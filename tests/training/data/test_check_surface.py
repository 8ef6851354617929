"""Checks that structures see their surface, are whole, and have the zero of energy of vacuum."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

from sikff.forcefield import ForceFieldConfig
from sikff.training.data.check_surface import check_surface, check_zero_of_energy
from sikff.training.data.labels import USUAL_KEYS
from sikff.training.data.reading import read_structures
from sikff.training.data.structures import Structures, split_isolated

DATA = Path(__file__).parents[3] / "examples" / "data"


def plane(height: float = 0.0, reach: float = 8.0, **settings: object) -> ForceFieldConfig:
    environment = {"plane_origin": [0, 0, height], "plane_range": reach, **settings}
    return ForceFieldConfig(elements=("H",), group="C_inf_v", environment=environment)


def well(height: float) -> float:
    """A Steele potential averaged along its surface: repulsion and attraction, eV."""
    return float(20 * np.exp(-2 * height) - 2 * np.exp(-height))


def frames(
    n: int = 60, offset: float = 0.0, surface: str | None = "gold", top: float = 12.0, **info: int
) -> list[ase.Atoms]:
    """Vibrating H2 at heights up to `top` with an energy that is left in, and n / 10 in vacuum."""
    rng, found = np.random.default_rng(n), []
    for number in range(n + n // 10):
        free = number >= n
        height = 30.0 if free else rng.uniform(1.0, top)
        stretch = rng.normal(scale=0.05)
        atoms = ase.Atoms("H2", [[0, 0, height], [0.74 + stretch, 0, height]], info=dict(info))
        energy = -31.0 + 17 * stretch**2
        atoms.info["REF_energy"] = energy if free else energy + 2 * well(height) + offset
        if surface is not None:
            atoms.info["surface"] = "vacuum" if free else surface
        found.append(atoms)
    return found


def check(atoms: list[ase.Atoms], model: ForceFieldConfig) -> None:
    structures = Structures.of(atoms).with_labels(USUAL_KEYS, ["energy"])
    check_surface(structures, model)
    check_zero_of_energy(structures, model)


def test_a_plane_that_no_atom_sees_is_refused_with_the_heights_found() -> None:
    gold = {"surfaces": ["gold"]}
    check(frames(), plane(**gold))
    with pytest.raises(ValueError, match=r"surface gold: heights .* -29 to -18 Å.* 0 to 8 Å"):
        check(frames(), plane(30.0, **gold))
    with pytest.raises(ValueError, match=r"are 17 to 28 Å, and it is seen from 0 to 8 Å"):
        check(frames(), plane(-16.0, **gold))
    with pytest.raises(ValueError, match="no atom sees the surface lead"):
        high = frames(surface="lead")
        for atoms in high:
            atoms.info["surface_origin"] = [0.0, 0.0, -20.0]
        check(frames() + high, plane(surfaces=["gold", "lead"]))
    with pytest.raises(ValueError, match="all structures are in vacuum"):
        check(frames()[60:], plane(**gold))


def test_both_walls_of_a_slit_are_seen() -> None:
    slit = plane(-10.0, reach=4.0, slit_width=22.5)
    check(frames(surface=None, top=12.0)[:60], slit)
    with pytest.raises(ValueError, match="no atom sees"):
        check(frames(surface=None, top=5.0)[:60], slit)


@pytest.mark.parametrize("surface", ["gold", None])
@pytest.mark.parametrize("top", [12.0, 7.0])
def test_energies_with_that_of_the_slab_are_refused(surface: str | None, top: float) -> None:
    model = plane(surfaces=["gold"])
    check(frames(surface=surface, top=top), model)
    with pytest.raises(ValueError, match=r"H2 .*in vacuum .*: \+12\.\d+ eV per structure"):
        check(frames(surface=surface, top=top, offset=12.3), model)
    with pytest.raises(ValueError, match="subtract the energy of the bare surface"):
        check(frames(surface=surface, top=top, offset=-20000.0), model)


def test_adsorbed_molecules_may_be_bound_strongly_or_charged() -> None:
    model = plane(surfaces=["gold"])
    check(frames(top=2.5, offset=-8.0), model)  # all of them at the surface: chemistry
    with pytest.raises(ValueError, match="-40 eV per structure"):
        check(frames(top=2.5, offset=-40.0), model)
    check(frames(top=7.0, offset=-1.9, charge=1), model)  # an image charge
    with pytest.raises(ValueError, match="per structure"):
        check(frames(top=7.0, offset=-3.0), model)


def test_without_vacuum_structures_surfaces_are_compared_with_each_other() -> None:
    model = plane(surfaces=["gold", "lead"])
    gold, lead = frames()[:60], frames(50, surface="lead", offset=12.3)[:50]
    check(lead, model)  # nothing to compare with
    with pytest.raises(ValueError, match=r"above the surface lead .* above gold .* \+12\.[23]"):
        check(gold + lead, model)
    check(gold + frames(50, surface="lead")[:50], model)


def test_other_compositions_and_charges_have_energies_of_their_own() -> None:
    gold = plane(surfaces=["gold"])
    check(frames()[60:] + frames(50, offset=12.3, charge=1)[:50], gold)


def test_molecules_wrapped_through_the_cell_along_the_normal_are_refused() -> None:
    atoms = frames(surface=None)
    for each in atoms:
        each.set_cell([6, 6, 40])
        each.pbc = True
    check(atoms, plane())
    atoms[7].positions = [[0, 0, 0.2], [0, 0, 39.5]]
    with pytest.raises(ValueError, match=r"wrapped through the cell .* in structure 7"):
        check(atoms, plane())
    atoms[7].pbc = (True, True, False)
    check(atoms, plane())


def test_a_model_without_a_plane_needs_no_check() -> None:
    check(frames(offset=12.3, surface=None), ForceFieldConfig(elements=("H",)))


@pytest.mark.parametrize("name", ["graphene", "nacl"])
def test_shipped_data_pass_until_the_energy_of_a_slab_is_left_in(name: str) -> None:
    structures, _ = split_isolated(read_structures(DATA / f"water_{name}.xyz"))
    environment = {"plane_origin": [0, 0, 0], "plane_range": 12, "surfaces": [name]}
    model = ForceFieldConfig(elements=("H", "O"), group="C_inf_v", environment=environment)
    check(structures.atoms, model)
    for atoms in structures.atoms:
        if atoms.info["surface"] == name:
            atoms.info["REF_energy"] += 12.3
    with pytest.raises(ValueError, match=r"H2O 12[.\d]* Å and more .* \+12\.\d+ eV per structure"):
        check(structures.atoms, model)
