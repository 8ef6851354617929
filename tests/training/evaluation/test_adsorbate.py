"""Adsorbates of force fields: what they start from, and what they read."""

import warnings

import ase
import numpy as np

from force_fields import force_field
from sikff.calculators import SIKFFCalculator
from sikff.training.evaluation.adsorbate import Adsorbate, orientations
from sikff.training.evaluation.rigid_samples import energies_of

PLANE = {"plane_origin": (0.0, 0.0, 1.0), "plane_range": 8.0, "surfaces": ("a",)}
LOWEST = {"O": 1.9, "H": 1.4}


def hydroxide() -> Adsorbate:
    environment = {**PLANE, "height_min": LOWEST, **CORRUGATION}
    model = force_field("C4v", environment=environment, vacuum_group="O(3)")
    atoms = ase.Atoms("OH", [[9.0, 9.0, 9.0], [9.0, 9.0, 9.96]], info={"surface": "a"})
    return Adsorbate.of_model(atoms, SIKFFCalculator(model, device="cpu"))


CORRUGATION = {"lattice": ((3.0, 0.0), (0.0, 3.0)), "wallpaper": "p4mm", "stars": 1}


def test_starts_are_never_below_the_training_data() -> None:
    found = hydroxide()
    assert found.data_floors.tolist() == [1.9, 1.4]
    assert found.reach == 8.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the calculator warns below them
        for turn in orientations(8, 2):
            start = found._start(found.surface.points(np.array([0.3, 0.4])), turn)
            heights = found.surface.heights(found.positions(start))
            assert (heights >= found.data_floors).all()
            place = found.place(start)
            assert np.allclose(place, [0.3, 0.4])


def test_energies_in_batches_are_those_of_the_calculator() -> None:
    found = hydroxide()
    rng = np.random.default_rng(0)
    rigid = found.free.positions - found.anchor(found.free.positions)
    centres = rng.uniform(0, 3, (5, 3))
    centres[:, 2] = (3.5, 4.0, 5.0, 10.0, 20.0)
    positions = np.array([turn.apply(rigid) for turn in orientations(5, 2)]) + centres[:, None]
    batched = energies_of(found)(positions)
    singly = [found.energy(found.above(each)) for each in positions]
    assert np.allclose(batched, singly, atol=1e-9)
    assert abs(batched[-1]) < 1e-6, "zero beyond the range"
    assert abs(batched[0]) > 1e-4
