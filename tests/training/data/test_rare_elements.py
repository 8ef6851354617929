"""E0s of elements in few structures: near those of others, unless the data tell them."""

import ase
import numpy as np
import pytest

from sikff.forcefield import ForceFieldConfig
from sikff.training.data.data_statistics import atomic_energies, complete_model
from sikff.training.data.labels import LabelKeys
from sikff.training.data.rare_elements import rare_energies
from sikff.training.data.samples import make_samples
from sikff.training.data.structures import Structures
from sikff.training.data.survey import Survey

ELEMENTS = ("Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Pd")
RARE = len(ELEMENTS) - 1


def made(seed: int, spread: float, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(atoms of each element in 100 structures, energies, true E0s); the last element occurs in
    two structures, once in each."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-5, spread, len(ELEMENTS))
    counts = np.zeros((100, len(ELEMENTS)))
    for row in counts:
        for element in rng.integers(0, RARE, 10):
            row[element] += 1
    counts[:2, RARE] = 1
    return counts, counts @ truth + rng.normal(0, noise, 100), truth


def fits(counts: np.ndarray, energies: np.ndarray, **known: float) -> tuple[dict, dict, str]:
    weights = np.ones(len(energies))
    fitted, _ = atomic_energies(counts, list(energies), ELEMENTS, known)
    found, note = rare_energies(counts, energies, ELEMENTS, fitted, known, weights)
    return fitted, found, note


def test_rare_elements_are_nearer_to_the_truth_than_by_least_squares() -> None:
    errors = []
    for seed in range(40):
        counts, energies, truth = made(seed, spread=2.0, noise=5.0)
        fitted, found, note = fits(counts, energies)
        assert [*found] == ["Pd"] and "Pd (by " in note and "fewer than 10 structures" in note
        errors.append([fitted["Pd"] - truth[RARE], found["Pd"] - truth[RARE]])
    by_least_squares, by_ridge = np.sqrt(np.mean(np.square(errors), axis=0))
    assert by_ridge < 0.7 * by_least_squares


@pytest.mark.parametrize(("spread", "noise"), [(2.0, 0.0), (1e5, 1.0)])
def test_data_that_tell_e0s_are_followed(spread: float, noise: float) -> None:
    """Energies that are sums of E0s, and E0s that differ much, as those of all electrons."""
    counts, energies, truth = made(1, spread, noise)
    _, found, _ = fits(counts, energies)
    assert found["Pd"] == pytest.approx(truth[RARE], abs=1e-6 + 2 * noise)


def test_nothing_changes_where_all_elements_are_common_or_nearly_none_is() -> None:
    counts, energies, _ = made(2, 2.0, 5.0)
    assert fits(counts[2:, :], energies[2:])[1:] == ({}, "")
    assert fits(counts, energies, Pd=-3.0)[1:] == ({}, "")
    assert fits(counts[:9], energies[:9])[1:] == ({}, "")


def test_a_run_takes_them_and_says_so() -> None:
    counts, energies, _ = made(3, 2.0, 5.0)
    rng = np.random.default_rng(0)
    frames = []
    for row, energy in zip(counts.astype(int), energies, strict=True):
        symbols = [e for e, n in zip(ELEMENTS, row, strict=True) for _ in range(n)]
        positions = 2.5 * np.arange(len(symbols))[:, None] * [1, 0, 0]
        positions = positions + rng.normal(0, 0.1, positions.shape)
        frames.append(ase.Atoms(symbols, positions, info={"REF_energy": energy}))
    structures = Structures.of(frames).with_labels(LabelKeys(), ["energy"])
    settings = {"elements": ELEMENTS, "cutoff": 4.0}
    samples = make_samples(structures, ForceFieldConfig(**settings), ["energy"])
    model, notes = complete_model(settings, structures, Survey.of(settings, samples), {})
    fitted, found, note = fits(counts, energies)
    assert model.atomic_energies == pytest.approx(fitted | found) and note in notes
    known = {"Pd": -4.0}
    model, notes = complete_model(settings, structures, Survey.of(settings, samples), known)
    assert model.atomic_energies["Pd"] == -4.0 and not any("drawn towards" in n for n in notes)
