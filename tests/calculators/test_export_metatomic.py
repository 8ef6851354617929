"""Exported models of metatomic, evaluated by metatomic's own calculator, where it is installed."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import torch

from force_fields import crystal, ethanol, force_field
from sikff import ForceField
from sikff.calculators import SIKFFCalculator
from sikff.training.cli import main
from tolerances import TOLERANCES

pytest.importorskip("metatomic.torch", reason="metatomic is not installed")
pytest.importorskip("metatomic_ase")

from metatensor.torch import Labels
from metatomic.torch import (
    ModelOutput,
    load_atomistic_model,
    read_model_metadata,
)
from metatomic_ase import MetatomicCalculator

from sikff.calculators.export_metatomic import export_metatomic

TINY = {"layers": 2, "channels": 2, "max_frequency": 1, "correlation": 1}
PLANE = {"plane_origin": (0.0, 0.0, -2.0)}
SQUARE = {"lattice": ((4.0, 0.0), (0.0, 4.0)), "wallpaper": "p4mm"}
ELECTRONS = {"charge": True, "spin": True}
# group, options and the info of structures
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "bare": ("O(3)", {"zbl": True}, {}),
    "plane": ("C_inf_v", {"environment": PLANE, "vacuum_group": "O(3)"}, {}),
    "places": ("C4v", {"environment": PLANE | SQUARE}, {}),
    "electrons": ("O(3)", {"environment": ELECTRONS}, {"charge": -1, "spin": 2}),
    "end of data": ("O(3)", {"distances_seen": {"H-O": ((0.9, 1.0),)}}, {}),
}
pytestmark = [
    # of torch and metatomic about themselves
    pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:the `quantity`:DeprecationWarning"),
    # metatomic computes a stress whatever the volume
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning"),
    # ours, of pairs that the data do not have
    pytest.mark.filterwarnings("ignore:atoms .* Å apart:UserWarning"),
]


def written(model: ForceField, tmp_path: Path) -> str:
    export_metatomic(model, tmp_path / "model.pt", "CC0")
    return str(tmp_path / "model.pt")


def layer() -> ase.Atoms:
    """Atoms that repeat along a surface."""
    atoms = ase.Atoms("Al2OH", [[0, 0, 0], [2.1, 2, 0.1], [1, 0.3, 2], [1.2, 0.2, 3]])
    atoms.set_cell([4.0, 4.0, 12.0])
    atoms.pbc = (True, True, False)
    return atoms


@pytest.mark.parametrize("kind", KINDS)
def test_metatomic_computes_what_our_calculator_does(kind: str, tmp_path: Path) -> None:
    group, options, info = KINDS[kind]
    model, limits = force_field(group, **TINY | options), TOLERANCES[torch.float64]
    theirs = MetatomicCalculator(written(model, tmp_path), check_consistency=True)
    ours = SIKFFCalculator(model)
    structures = [ethanol(), layer(), ase.Atoms("H", [[0.1, 0.2, 0.3]])]
    if "environment" not in options or kind == "electrons":
        structures.append(crystal())
    for atoms in structures:
        atoms.info |= info
        expected, found = (atoms.copy() for _ in range(2))
        expected.calc, found.calc = ours, theirs
        error = abs(found.get_potential_energy() - expected.get_potential_energy())
        assert error < limits.parity * max(1, abs(expected.get_potential_energy()))
        forces = expected.get_forces()
        assert len(atoms) == 1 or abs(forces).max() > 1e-3
        assert abs(found.get_forces() - forces).max() < limits.gradient * (1 + abs(forces).max())
        if atoms.pbc.all():
            assert abs(found.get_stress() - expected.get_stress()).max() < limits.gradient


def test_weights_of_single_precision(tmp_path: Path) -> None:
    model = force_field("O(3)", **TINY).float()
    expected, found = crystal(), crystal()
    expected.calc = SIKFFCalculator(model)
    found.calc = MetatomicCalculator(written(model, tmp_path))
    limits = TOLERANCES[torch.float32]
    assert abs(found.get_potential_energy() - expected.get_potential_energy()) < limits.parity
    assert abs(found.get_forces() - expected.get_forces()).max() < limits.gradient


def test_energies_of_atoms_and_of_a_selection(tmp_path: Path) -> None:
    model = force_field("O(3)", **TINY)
    calculator, atoms = MetatomicCalculator(written(model, tmp_path)), ethanol()
    outputs = {"energy": ModelOutput(unit="eV", sample_kind="atom")}
    energies = calculator.run_model([atoms, crystal()], outputs)["energy"].block()
    ours = SIKFFCalculator(model)
    expected = np.concatenate([ours.get_property("energies", a) for a in (atoms, crystal())])
    assert np.allclose(energies.values.detach().numpy()[:, 0], expected, atol=1e-9)
    selected = Labels(["system", "atom"], torch.tensor([[0, 1], [0, 4], [1, 2]]))
    outputs = {"energy": ModelOutput(unit="eV", sample_kind="system")}
    sums = calculator.run_model([atoms, crystal()], outputs, selected)["energy"].block()
    assert np.allclose(
        sums.values.detach().numpy()[:, 0], [expected[1] + expected[4], expected[len(atoms) + 2]]
    )


def test_the_file_says_what_the_model_is(tmp_path: Path) -> None:
    path = written(force_field("O(3)", **TINY), tmp_path)
    capabilities = load_atomistic_model(path).capabilities()
    assert capabilities.atomic_types == [1, 6, 8, 13]
    assert capabilities.interaction_range == pytest.approx(2 * 4.0)
    assert capabilities.length_unit.lower() == "angstrom" and capabilities.dtype == "float64"
    assert capabilities.outputs["energy"].unit == "eV"
    metadata = read_model_metadata(path)
    assert "O(3)" in metadata.name and "CC0" in metadata.description
    assert '"licence": "CC0"' in metadata.extra["sikff"]


def test_a_charge_is_shared_by_all_atoms(tmp_path: Path) -> None:
    """Engines that divide space among processes must not take such a model."""
    path = written(force_field("O(3)", **TINY, environment=ELECTRONS), tmp_path)
    assert load_atomistic_model(path).capabilities().interaction_range == math.inf


def test_it_runs_where_there_is_no_sikff(tmp_path: Path) -> None:
    model, atoms = force_field("O(3)", **TINY), ethanol()
    written(model, tmp_path)
    ase.io.write(tmp_path / "atoms.xyz", atoms)
    program = """
import sys
sys.modules["sikff"] = None
import ase.io
from metatomic_ase import MetatomicCalculator
atoms = ase.io.read("atoms.xyz")
atoms.calc = MetatomicCalculator("model.pt")
print(atoms.get_forces().tolist())
"""
    run = [sys.executable, "-W", "ignore", "-c", program]
    output = subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    expected = SIKFFCalculator(model).get_property("forces", ase.io.read(tmp_path / "atoms.xyz"))
    assert np.allclose(eval(output.splitlines()[-1]), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"field": True}, "have no electric fields, which the model reads; export it to a file"),
        (PLANE | {"surfaces": ("a", "b")}, "have no names of surfaces"),
    ],
)
def test_conditions_that_metatomic_does_not_have_raise(
    environment: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        written(force_field("C_inf_v", **TINY, environment=environment), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_structures_through_a_surface_and_off_its_lattice_raise(tmp_path: Path) -> None:
    model = force_field("C4v", **TINY, environment=PLANE | SQUARE)
    calculator = MetatomicCalculator(written(model, tmp_path))
    through, off = layer(), layer()
    through.pbc = True
    off.cell[0, 0] = 4.1
    for atoms, message in ((through, "leads through the surface"), (off, "not whole multiples")):
        atoms.calc = calculator
        with pytest.raises(Exception, match=message):
            atoms.get_potential_energy()


def test_other_elements_raise(tmp_path: Path) -> None:
    atoms = ase.Atoms("He")
    atoms.calc = MetatomicCalculator(written(force_field("O(3)", **TINY), tmp_path))
    with pytest.raises(Exception, match="does not support the atomic type"):
        atoms.get_potential_energy()


def test_the_command_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    force_field("O(3)", **TINY).save(tmp_path / "model.sikff")
    to = tmp_path / "model.pt"
    arguments = [str(tmp_path / "model.sikff"), "--to", str(to), "--licence", "CC0"]
    assert main(["export", *arguments]) == 0
    assert f"wrote {to}" in capsys.readouterr().out
    assert "CC0" in read_model_metadata(str(to)).description
