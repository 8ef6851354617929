"""What a run does with calculators: they fail, die, have other units, and are somebody else's."""

import multiprocessing
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from sikff.training.learn.config import CalculatorConfig
from sikff.training.learn.job_folder import JobFolder, LabelsMissingError
from sikff.training.learn.label_log import Answer, Request
from sikff.training.learn.reference import InProcess, InWorkers, compute, make_calculator


class Smeared(Calculator):
    implemented_properties = ("energy", "free_energy", "forces")

    def calculate(self, atoms: Any = None, *arguments: Any) -> None:
        self.results = {"energy": -1.0, "free_energy": -1.5, "forces": np.zeros((len(atoms), 3))}


class Energies(Calculator):
    implemented_properties = ("energy",)


def dimer(length: float) -> Request:
    return Request(ase.Atoms("CO", positions=[[0, 0, 0], [0, 0, length]]), "start", 0)


def answers(reference: Any, requests: list[Request]) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    reference.answer(requests, lambda request, answer: found.setdefault(request.id, answer))
    return found


def test_a_failure_is_an_answer_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    calculator = make_calculator(CalculatorConfig(name="dying_calculator.Dying"))
    found = answers(InProcess(calculator), [dimer(1.1), dimer(2.5)])
    good, bad = found.values()
    assert good.status == "labelled" and good.results["forces"].shape == (2, 3)
    assert bad.reason == "CalculationFailed: SCF not converged in 250 cycles"
    absurd = compute(EMT(), dimer(0.4).atoms)
    assert absurd.status == "refused" and "above 30" in absurd.reason


def test_the_energy_is_the_one_whose_gradient_the_forces_are() -> None:
    assert compute(Smeared(), molecule("H2O")).results["energy"] == -1.5


def test_a_process_that_dies_costs_its_structure_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    config = CalculatorConfig(name="dying_calculator.Dying", workers=1)
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    reference = InWorkers(config)
    requests = [dimer(length) for length in (1.1, 1.2, 0.9, 1.3, 2.5)]
    found = answers(reference, requests)
    reference.close()
    status = [found[request.id].status for request in requests]
    assert status == ["labelled", "labelled", "failed", "labelled", "failed"]
    assert found[requests[2].id].reason == "the process of the calculator ended"
    same = compute(EMT(), requests[0].atoms)
    assert np.array_equal(found[requests[0].id].results["forces"], same.results["forces"])


def test_processes_end_with_a_run_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    config = CalculatorConfig(
        name="dying_calculator.Waiting", arguments={"path": str(pipe)}, workers=2
    )
    run = multiprocessing.get_context("fork").Process(
        target=answers, args=(InWorkers(config), [dimer(1.1)])
    )
    run.start()
    with pipe.open("rb", buffering=0) as computing:
        assert computing.read(1) == b"x"
        run.kill()
        run.join()
        assert select.select([computing], [], [], 30)[0] and computing.read(1) == b""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "EMT"}, "expected a class with its module"),
        ({"name": "no_such_package.EMT"}, "cannot be imported here"),
        ({"name": "ase.calculators.emt.NoSuch"}, "cannot be imported here"),
        ({"name": "ase.calculators.emt.EMT", "arguments": {"nonsense": 1}}, None),
        ({"name": "ase.units.create_units", "arguments": {"codata_version": "2018"}}, "no ASE"),
    ],
)
def test_a_calculator_that_cannot_be_made_is_a_sentence(
    settings: dict[str, Any], message: str | None
) -> None:
    config = CalculatorConfig.model_validate(settings)
    if message is None:
        make_calculator(config)  # ASE takes any keyword
        return
    with pytest.raises(ValueError, match=message):
        make_calculator(config)


def test_a_calculator_without_forces_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ase.calculators.emt.EMT", Energies)
    with pytest.raises(ValueError, match="does not compute forces"):
        make_calculator(CalculatorConfig(name="ase.calculators.emt.EMT"))


def computed(path: Path, change: Callable[[ase.Atoms], ase.Atoms]) -> ase.Atoms:
    """The structure of a job with its label, as somebody else may write it."""
    atoms = change(ase.io.read(path))
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def test_labels_from_a_folder_may_be_in_another_order_and_cell(tmp_path: Path) -> None:
    box = ase.Atoms(
        "COC", positions=[[0.1, 0, 0], [0, 0, 1.2], [0, 2.9, 2.9]], cell=[3.5] * 3, pbc=True
    )
    requests = [Request(box, "start", 0), dimer(1.2)]
    folder = JobFolder(tmp_path / "jobs", "labelled.xyz")
    with pytest.raises(LabelsMissingError, match=r"2 structures in .* wait"):
        answers(folder, requests)
    jobs = {request.id: tmp_path / "jobs" / request.id for request in requests}
    first, second = jobs.values()

    def wrapped(atoms: ase.Atoms) -> ase.Atoms:
        atoms = atoms[[2, 0, 1]]
        atoms.positions -= [3.5, 0, 3.5]
        return atoms

    ase.io.write(first / "labelled.xyz", computed(first / "structure.xyz", wrapped))
    (second / "failed").write_text("not\nconverged")
    one, two = answers(folder, requests).values()
    assert one.results["forces"] == pytest.approx(compute(EMT(), box).results["forces"], abs=1e-6)
    assert two.status == "failed" and two.reason == "not converged"
    assert "--resume" in (tmp_path / "jobs/README.txt").read_text()


def write_vasprun(path: Path, atoms: ase.Atoms) -> None:
    """What VASP leaves of a single point, as far as readers need it: elements sorted, atoms wrapped
    into the cell, stress in kbar and of the other sign, and the energy without entropy too."""
    atoms = atoms[np.argsort(atoms.symbols, kind="stable")]
    atoms.calc = EMT()

    def rows(name: str, values: np.ndarray) -> str:
        lines = "".join("<v>{:.8f} {:.8f} {:.8f}</v>".format(*row) for row in values)
        return f'<varray name="{name}">{lines}</varray>'

    cell = f"<crystal>{rows('basis', atoms.cell.array)}</crystal>"
    structure = f"<structure>{cell}{rows('positions', atoms.get_scaled_positions())}</structure>"
    initial = structure.replace("<structure", '<structure name="initialpos"')
    elements = "".join(f"<rc><c>{symbol}</c><c>1</c></rc>" for symbol in atoms.symbols)
    energy = atoms.get_potential_energy()
    free = f'<i name="e_fr_energy">{energy:.8f}</i><i name="e_0_energy">{energy + 0.5:.8f}</i>'
    stress = -atoms.get_stress(voigt=False) / (0.1 * units.GPa)
    path.write_text(
        f'<modeling><atominfo><array name="atoms"><set>{elements}</set></array></atominfo>'
        f"{initial}<calculation><scstep><energy>{free}</energy></scstep>"
        f"<energy>{free}</energy>{structure}"
        f"{rows('forces', atoms.get_forces())}{rows('stress', stress)}</calculation>"
        f'<kpoints><varray name="kpointlist"><v>0 0 0</v></varray></kpoints></modeling>'
    )


def test_labels_come_from_files_of_vasp(tmp_path: Path) -> None:
    """Through POSCAR to vasprun.xml: a crystal; a molecule and a layer in the middle of a box."""
    crystal = bulk("Cu", cubic=True) + ase.Atoms("O", positions=[[0.5, 1.8, -0.1]])
    crystal = crystal[[0, 4, 1, 2, 3]]
    crystal.rattle(0.1, seed=1)
    layer = ase.Atoms("CO", [[0, 0, 0], [1, 0, -3]], cell=[[4, 0, 0], [1, 4, 0], [0, 0, 0]])
    layer.pbc = True, True, False
    requests = [Request(crystal, "start", 0), dimer(1.2), Request(layer, "start", 0)]
    folder = JobFolder(tmp_path, "vasprun.xml")
    with pytest.raises(LabelsMissingError):
        answers(folder, requests)
    for request in requests:
        job = tmp_path / request.id
        atoms = ase.io.read(job / "structure.xyz")
        if not atoms.pbc.all():
            atoms.center(vacuum=6.0, axis=[axis for axis in range(3) if not atoms.pbc[axis]])
            atoms.pbc = True
        ase.io.write(job / "POSCAR", atoms, sort=True)
        write_vasprun(job / "vasprun.xml", ase.io.read(job / "POSCAR"))
    for request, answer in zip(requests, answers(folder, requests).values(), strict=True):
        expected = compute(EMT(), request.atoms).results
        assert set(answer.results) == set(expected)
        for name, value in expected.items():
            assert answer.results[name] == pytest.approx(value, abs=1e-5), name


def test_a_label_of_another_structure_is_refused(tmp_path: Path) -> None:
    folder, request = JobFolder(tmp_path, "labelled.xyz"), dimer(1.2)
    with pytest.raises(LabelsMissingError):
        answers(folder, [request])
    job = tmp_path / request.id

    def moved(atoms: ase.Atoms) -> ase.Atoms:
        atoms.positions[1, 2] += 0.1
        return atoms

    ase.io.write(job / "labelled.xyz", computed(job / "structure.xyz", moved))
    with pytest.raises(ValueError, match="is of another structure"):
        answers(folder, [request])
    ase.io.write(job / "labelled.xyz", ase.io.read(job / "structure.xyz"))
    with pytest.raises(ValueError, match="cannot read energy and forces"):
        answers(folder, [request])
