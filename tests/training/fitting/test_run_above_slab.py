"""A run above the surface of a slab: the file is read once, when it begins."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import ase
import ase.io
import numpy as np
import pytest
import yaml
from ase.build import fcc100
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator

from runs import changed, fit_two_epochs, rows
from sikff import load
from sikff.training.config import TrainConfig, read_config
from sikff.training.fitting import fit as module
from sikff.training.fitting.fit import fit


def above(height: float, count: int = 12) -> list[ase.Atoms]:
    """Pairs of argon atoms, labelled without the surface."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(count):
        x, y, z = rng.uniform(0, 5, 3)
        ends = [(x, y, z + height), (x, y + 0.5, z + height + 3.5 + rng.uniform())]
        atoms = ase.Atoms("Ar2", ends)
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.01, rc=9.0)
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    return frames


@pytest.fixture
def slab_run(tmp_path: Path) -> TrainConfig:
    slab = fcc100("Al", (2, 2, 3), vacuum=8)
    slab.write(tmp_path / "slab.traj")
    ase.io.write(tmp_path / "train.xyz", above(slab.positions[:, 2].max() + 2))
    return TrainConfig(
        data={"train": tmp_path / "train.xyz", "valid": 3},
        model={
            "environment": {"slab": str(tmp_path / "slab.traj"), "stars": 1},
            **{"layers": 1, "channels": 2, "max_frequency": 1, "correlation": 1},
            "atomic_energies": {"Ar": 0.0},
        },
        output=tmp_path / "run",
        max_epochs=3,
        device="cpu",
    )


def test_a_run_stores_numbers_and_resumes_without_the_slab(
    slab_run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_two_epochs(slab_run, monkeypatch)
    stored = read_config(slab_run.output / "config.yaml")
    environment = stored.model["environment"]
    assert "slab" not in (slab_run.output / "config.yaml").read_text()
    assert environment["wallpaper"] == "p4mm"
    Path(slab_run.model["environment"]["slab"]).unlink()
    path = fit(slab_run, resume=True)
    assert [row["epoch"] for row in rows(slab_run)] == [0, 1, 2]
    of_model = load(path).config
    assert of_model.group == "C4v"
    assert of_model.environment.wallpaper == "p4mm"
    assert np.array(of_model.environment.lattice) == pytest.approx(np.array(environment["lattice"]))
    assert list(of_model.environment.plane_origin) == environment["plane_origin"]
    stored_text = yaml.safe_load((slab_run.output / "config.yaml").read_text())
    fit(changed(stored, max_epochs=4), resume=True)  # the stored settings go on too
    assert stored_text["model"]["environment"] == environment
    other = slab_run.model | {"environment": slab_run.model["environment"] | {"stars": 2}}
    with pytest.raises(ValueError, match="cannot resume with other settings of model"):
        fit(changed(slab_run, model=other), resume=True)


def test_a_run_that_began_without_a_slab_does_not_go_on_with_one(slab_run: TrainConfig) -> None:
    flat = {key: value for key, value in slab_run.model.items() if key != "environment"}
    fit(changed(slab_run, model={**flat, "group": "O(3)"}, max_epochs=1))
    with pytest.raises(ValueError, match="model"):
        fit(slab_run, resume=True)


def test_data_below_the_surface_mean_the_other_side(slab_run: TrainConfig) -> None:
    lowest = ase.io.read(slab_run.model["environment"]["slab"]).positions[:, 2].min()
    ase.io.write(slab_run.data.train, above(lowest - 12))
    with pytest.raises(ValueError, match=r"below the outermost atom of the slab .*slab_side"):
        fit(slab_run)
    environment = slab_run.model["environment"] | {"slab_side": "bottom"}
    config = changed(slab_run, model=slab_run.model | {"environment": environment}, max_epochs=1)
    assert load(fit(config)).config.axis == (0.0, 0.0, -1.0)


def test_the_atoms_of_the_slab_among_the_data_are_told(slab_run: TrainConfig) -> None:
    slab = ase.io.read(slab_run.model["environment"]["slab"])
    frames = ase.io.read(slab_run.data.train, ":")
    lines: list[str] = []
    config = changed(slab_run, max_epochs=1)
    fit(config, report=lines.append)
    assert not any("outermost atom of the slab" in line for line in lines)
    for atoms in frames:
        labels = {
            "energy": atoms.get_potential_energy(),
            "forces": np.vstack([atoms.get_forces(), np.zeros(3)]),
        }
        atoms += ase.Atoms("Ar", [slab.positions[-1]])
        atoms.calc = SinglePointCalculator(atoms, **labels)
    ase.io.write(slab_run.data.train, frames)
    fit(changed(config, output=config.output.with_name("other")), report=lines.append)
    assert any(
        line.startswith("note: 9 of 9 training structures have atoms at or below") for line in lines
    )


def test_a_slab_is_one_surface(slab_run: TrainConfig) -> None:
    frames = ase.io.read(slab_run.data.train, ":")
    for number, atoms in enumerate(frames):
        atoms.info["surface"] = ("salt", "copper")[number % 2]
    ase.io.write(slab_run.data.train, frames)
    with pytest.raises(ValueError, match="name the surfaces copper, salt, and a slab is one; "):
        fit(slab_run)
    for atoms in frames:
        atoms.info["surface"] = "salt"
    ase.io.write(slab_run.data.train, frames)
    environment = load(fit(changed(slab_run, max_epochs=1))).config.environment
    assert environment.surfaces == ("salt",)
    assert environment.wallpaper == "p4mm"


def test_processes_of_a_launch_get_the_surface_that_the_first_one_found(
    slab_run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They read neither the slab nor settings with a slab."""
    shared: list[Sequence[object]] = []

    def share(arguments: Sequence[object]) -> None:
        shared.append(arguments)
        raise InterruptedError

    leader = SimpleNamespace(share=share, launch=None, store=None)
    monkeypatch.setattr(module, "find_launch", lambda devices: SimpleNamespace(rank=0))
    monkeypatch.setattr(module, "lead", lambda folder, launch: nullcontext(leader))
    monkeypatch.setattr(module, "clear_meetings", lambda folder, launch: None)
    with pytest.raises(InterruptedError):
        fit(changed(slab_run, devices=2))
    config = shared[0][0]
    assert isinstance(config, TrainConfig)
    assert config.model["environment"]["wallpaper"] == "p4mm"
    assert "slab" not in config.model["environment"]
