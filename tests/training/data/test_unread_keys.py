"""What looks like a weight, a charge or a label and is not read is said."""

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from sikff.training.cli.main import main
from sikff.training.data import LabelKeys, Structures
from sikff.training.data.report import describe_left_out
from sikff.training.data.unread_keys import unread_keys


def _notes(keys: LabelKeys | None = None, **values: Any) -> list[str]:
    """Notes on two water-like structures, of which the second has these values."""
    pair = [Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [0, 0.96, 0]]) for _ in range(2)]
    for key, value in values.items():
        holder: dict[str, Any] = pair[1].info
        if isinstance(value, list):
            holder, value = pair[1].arrays, np.array(value)
        holder[key] = value
    return list(unread_keys(Structures.of(pair).with_labels(keys or LabelKeys())))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weight", 0.0),
        ("Config_Weight", 0.5),
        ("config_energies_weight", 2),
        ("force_mask", False),
        ("energy_sigma", 0.001),
        ("loss_mask", [True, False, True]),
        ("FORCES_MASK", [[1, 1, 0]] * 3),
        ("frozen", [1, 0, 0]),
        ("net_charge", -1),
        ("Charge", np.int64(1)),
        ("REF_charge", 1.0),
        ("spin_multiplicity", 3),
        ("Spin", 2),
        ("initial_charges", [-1.0, 0.0, 0.0]),
    ],
)
def test_keys_like_those_of_weights_charges_and_spins_are_noted(key: str, value: Any) -> None:
    (note,) = _notes(**{key: value})
    assert key.replace("initial_charges", "initial charges") in note
    assert "structure 1" in note and "not read" in note


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config_forces_weight", 0.0),
        ("forces_mask", [True, False, True]),
        ("weight", 1.0),
        ("molecular_weight", 18.0),
        ("masses", [16.0, 1.0, 1.0]),
        ("fixed", [0, 0, 0]),
        ("charge", -1),
        ("total_spin", 3),
        ("net_charge", 0),
        ("discharge", 0.3),
        ("charge_method", "Mulliken"),
        ("nspin", 2),
        ("initial_charges", [-0.8, 0.4, 0.4]),
    ],
)
def test_keys_that_are_read_or_change_nothing_are_not_noted(key: str, value: Any) -> None:
    assert _notes(**{key: value}) == []


def test_weights_under_the_usual_names_are_noted_if_others_are_read_instead() -> None:
    mask = {"mine": [1, 1, 0], "forces_mask": [1, 0, 1]}
    (note,) = _notes(LabelKeys(forces_weight="mine"), **mask)
    assert "forces_mask" in note


def test_keys_beside_one_that_is_read_are_not_noted() -> None:
    assert _notes(charge=1, formal_charge=1, spin=2, multiplicity=2) == []
    assert len(_notes(charge=1, multiplicity=2)) == 1


def _labelled(key: str) -> Atoms:
    atoms = Atoms("N2", [[0, 0, 0], [0, 0, 1.1]])
    atoms.calc = SinglePointCalculator(atoms, forces=np.array([[0, 0, 1.0], [0, 0, -1.0]]))
    atoms.info[key] = -1.0
    return atoms


def test_a_label_of_another_name_in_some_structures_is_named() -> None:
    structures = Structures.of([_labelled("REF_energy"), _labelled("Energy")])
    (line,) = describe_left_out(structures.with_labels(LabelKeys()))
    assert line == (
        "no energy in 1 of 2 structures (structure 1): left out; it may be called Energy there"
    )


def test_data_command_names_keys_that_may_be_those_of_labels_without_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ase.io.write(tmp_path / "dft.xyz", [_labelled("dft_energy")])
    main(["data", str(tmp_path / "dft.xyz")])
    assert "no energy; energy_key may be dft_energy" in capsys.readouterr().out


def test_data_command_suggests_no_key_for_labels_of_weight_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atoms = _labelled("energy")
    atoms.info["config_energy_weight"] = 0
    ase.io.write(tmp_path / "dft.xyz", [atoms])
    main(["data", str(tmp_path / "dft.xyz")])
    printed = capsys.readouterr().out
    assert "energy of weight 0" in printed and "energy_key" not in printed


@pytest.mark.parametrize("name", ["forces", "stress"])
def test_data_command_names_structures_whose_labels_are_all_nan(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    structures = []
    for _ in range(3):
        atoms = Atoms("N2", [[0, 0, 0], [0, 0, 1.1]], cell=[5, 5, 5], pbc=True)
        results = {"energy": -1.0, "forces": np.ones((2, 3)), "stress": np.ones(6)}
        results[name] = np.full_like(results[name], np.nan)
        atoms.calc = SinglePointCalculator(atoms, **results)
        structures.append(atoms)
    ase.io.write(tmp_path / "nan.xyz", structures)
    assert main(["data", str(tmp_path / "nan.xyz")]) == 2
    assert f"{name} is NaN or infinite in structures 0, 1, 2" in capsys.readouterr().err
