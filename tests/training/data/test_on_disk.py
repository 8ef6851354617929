"""Data on the disk: the same data set, batches and models as from memory."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
import torch

from runs import changed
from sikff import load
from sikff.training.config import TrainConfig, bytes_of
from sikff.training.data.batches import Batch, Batches, Counts, Sample, count_labels, with_energy
from sikff.training.data.dataset import load_dataset
from sikff.training.data.on_disk import record_cache, stored_samples
from sikff.training.data.on_disk.stored_samples import StoredSamples, memory_of
from sikff.training.fitting.fit import fit
from sikff.training.fitting.static_training import capacity_for


def stored(config: TrainConfig, memory: str = "0 B", **data: Any) -> TrainConfig:
    return changed(config, data={**config.data.model_dump(), "memory": memory, **data})


@pytest.fixture
def varied(tmp_path: Path, config: TrainConfig) -> TrainConfig:
    """Structures with weights, missing and masked labels, charges, fields and config_types."""
    frames = ase.io.read(config.data.train, ":")
    for number, atoms in enumerate(frames[:12]):
        atoms.info["electric_field"] = [0.0, 0.0, 0.1 * number]
        atoms.info |= {
            "spin": 1 + 2 * (number % 2),
            "config_type": "melt" if number % 3 else "solid",
        }
        atoms.pbc = (True, True, False)
        atoms.info["config_forces_weight"] = 1.0 + number % 2
        atoms.arrays["forces_mask"] = np.arange(len(atoms)) != 1
        if number == 4:
            atoms.calc.results.pop("energy")
    ase.io.write(tmp_path / "varied.xyz", frames)
    environment = {"field": True, "spin": True}
    return changed(
        config,
        data={"train": tmp_path / "varied.xyz", "valid": 3},
        model={**config.model, "group": "C_inf_v", "environment": environment},
        loss={"stress": 1.0, "config_types": {"melt": 2.0}},
    )


def expect_same_samples(one: Sample, other: Sample) -> None:
    for entry in dataclasses.fields(one.graph):
        assert torch.equal(getattr(one.graph, entry.name), getattr(other.graph, entry.name))
    for first, second in zip(one.targets, other.targets, strict=True):
        assert (first is None) == (second is None)
        assert first is None or torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)
    assert (one.weights is None) == (other.weights is None)
    if one.weights is not None:
        assert all(map(torch.equal, one.weights, other.weights))
    assert (one.name, one.weight, one.config_type) == (other.name, other.weight, other.config_type)


def expect_same_batches(one: Batch, other: Batch) -> None:
    assert one.names == other.names and one.sizes == other.sizes
    assert (one.weights is None) == (other.weights is None)
    for entry in dataclasses.fields(one.graph):
        assert torch.equal(getattr(one.graph, entry.name), getattr(other.graph, entry.name))
    pairs = [*zip(one.targets, other.targets, strict=True)]
    pairs += [*zip(one.weights or (), other.weights or (), strict=True)]
    for first, second in pairs:
        assert first is None or torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("kind", ["config", "varied"])
def test_the_data_set_is_that_of_memory(kind: str, request: pytest.FixtureRequest) -> None:
    """At the first start, and when it was prepared before."""
    run = request.getfixturevalue(kind)
    expected = load_dataset(run)
    for memory in ("0 B", "0 B", "9 kB", "1 GB"):
        found = load_dataset(stored(run, memory))
        assert found.model == expected.model
        assert found.report[:-1] == expected.report and memory in found.report[-1]
        for name in ("train", "valid"):
            samples, others = getattr(found, name), getattr(expected, name)
            assert isinstance(samples, StoredSamples) and len(samples) == len(others)
            for one, other in zip(samples, others, strict=True):
                expect_same_samples(one, other)
            for one, other in zip(samples.counts, Counts.of(others), strict=True):
                assert np.array_equal(one, other)
            assert count_labels(samples) == count_labels(others)
            assert with_energy(samples) == with_energy(others)
            assert capacity_for(samples, 4) == capacity_for(others, 4)


def test_batches_are_those_of_memory(varied: TrainConfig) -> None:
    """Also the parts of several processes."""
    expected, found = (load_dataset(run).train for run in (varied, stored(varied, "20 kB")))
    for rank, processes in ((0, 1), (0, 2), (1, 2), (4, 5)):
        pair = (Batches(samples, 4, 7, rank, processes) for samples in (found, expected))
        for one, other in zip(*(batches.between(1, 7) for batches in pair), strict=True):
            expect_same_batches(one, other)


def test_a_process_makes_only_its_own_samples(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = load_dataset(stored(config)).train
    made = []
    make = StoredSamples._make
    monkeypatch.setattr(
        StoredSamples, "_make", lambda self, index: made.append(index) or make(self, index)
    )
    batches = Batches(samples, 4, 7, 1, 2)
    list(batches)
    assert len(made) == 4 + 1  # of 9 in batches of 4, 4 and 1: two, two, and one as a dummy


def test_training_is_that_from_memory(config: TrainConfig) -> None:
    """To the last bit: weights and log."""
    config = changed(config, loss={"stress": 1.0}, plots=False)
    one = fit(changed(config, output=config.output / "a"))
    other = fit(changed(stored(config, "9 kB"), output=config.output / "b"))
    first, second = (load(path).state_dict() for path in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    logs = [(p.parent / "log.csv").read_text().splitlines() for p in (one, other)]
    minutes = logs[0][0].split(",").index("minutes")
    rows = [[line.split(",") for line in log] for log in logs]
    for row in rows[0] + rows[1]:
        row.pop(minutes)
    assert rows[0] == rows[1] and len(rows[0]) == 4


def test_a_run_on_the_disk_is_resumed_and_fine_tuned(config: TrainConfig) -> None:
    config = stored(changed(config, plots=False))
    whole = fit(changed(config, output=config.output / "a"))
    half = changed(config, output=config.output / "b")
    limited = changed(half, max_steps=6)
    fit(limited)
    path = fit(half, resume=True)
    assert path.is_file()
    tuned = changed(config, output=config.output / "c", start={"model": whole})
    lines: list[str] = []
    fit(tuned, report=lines.append)
    assert any("before training its energies are off" in line for line in lines)
    with pytest.raises(ValueError, match="the data are not those"):
        atoms = ase.io.read(config.data.train, ":")
        atoms[0].positions += 0.01 * np.arange(12).reshape(4, 3)
        ase.io.write(config.data.train, atoms)
        fit(half, resume=True)


def test_structures_of_replay_are_trained_on_as_from_memory(
    config: TrainConfig, tmp_path: Path, frames: list[ase.Atoms]
) -> None:
    start = fit(changed(config, output=config.output / "old", max_steps=1, plots=False))
    ase.io.write(tmp_path / "old.xyz", frames[:3])
    data = {"replay": tmp_path / "old.xyz", "replay_weight": 0.5, "valid": 3}
    run = changed(config, start={"model": start}, data={"train": config.data.train, **data})
    expected = load_dataset(run)
    for memory in ("0 B", "1 GB"):
        found = load_dataset(stored(run, memory))
        assert len(found.train) == 12 and len(found.replay) == 3
        for one, other in zip(found.train, expected.train, strict=True):
            expect_same_samples(one, other)
        assert found.train[-1].weight == 0.5 and len(found.train[8:]) == 4
        assert found.report[-1] == expected.report[-1]
        pair = (Batches(dataset.train, 4, 7) for dataset in (found, expected))
        for one, other in zip(*pair, strict=True):
            expect_same_batches(one, other)
    before = found.fingerprint
    ase.io.write(tmp_path / "old.xyz", frames[:4])
    assert load_dataset(stored(run)).fingerprint != before


def test_the_second_start_reads_no_structures(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = stored(config)
    before = load_dataset(config)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(record_cache, "iterate_atoms", refuse)
    monkeypatch.setattr(stored_samples, "make_graph", refuse)
    monkeypatch.setattr(record_cache.RecordFile, "__getitem__", refuse)
    after = load_dataset(config)
    assert after.fingerprint == before.fingerprint
    assert len(after.train) == 9
    Batches(after.train, 4)
    capacity_for(after.train, 4)
    monkeypatch.undo()
    other = load_dataset(changed(config, seed=1))  # another split, of the same records
    assert other.fingerprint != before.fingerprint
    cache = config.data.train.parent / "sikff_cache"
    assert len([*cache.glob("prepared-*")]) == 2 and len([*cache.glob("train-*")]) == 1


def test_changed_files_are_prepared_again(config: TrainConfig, tmp_path: Path) -> None:
    config = stored(config, cache=tmp_path / "elsewhere")
    before = load_dataset(config)
    records = [*(tmp_path / "elsewhere").glob("train-*")]
    atoms = ase.io.read(config.data.train, ":")
    ase.io.write(config.data.train, atoms[1:])
    after = load_dataset(config)
    assert len(after.train) == len(before.train) - 1
    records[0].unlink()
    assert len(load_dataset(config).train) == len(after.train)


def test_no_more_graphs_are_kept_than_the_budget_allows(config: TrainConfig) -> None:
    samples = load_dataset(stored(config, "1 GB")).train
    assert not samples._kept  # while it was prepared
    size = memory_of(samples[0])
    limited = load_dataset(stored(config, f"{3.5 * size:.0f} B"))
    for _ in range(2):
        for dataset in (limited.train, limited.valid):
            list(dataset)
    kept = sum(len(each._kept) for each in (limited.train, limited.valid))
    assert kept in (3, 4)  # sizes differ a little
    assert limited.train[0] is limited.train[0]
    first = load_dataset(stored(config)).train
    assert first[0] is not first[0]


def test_labels_that_are_missing_or_wrong_raise_as_from_memory(config: TrainConfig) -> None:
    frames = ase.io.read(config.data.train, ":")
    frames[3].calc.results["forces"] *= np.nan
    ase.io.write(config.data.train, frames)
    messages = []
    for run in (config, stored(config)):
        with pytest.raises(ValueError, match="NaN or infinite in structure 3") as caught:
            load_dataset(run)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    cache = config.data.train.parent / "sikff_cache"
    assert not [*cache.glob("prepared-*")]


def test_several_files_and_an_own_file_for_validation(
    config: TrainConfig, tmp_path: Path, frames: list[ase.Atoms]
) -> None:
    ase.io.write(tmp_path / "more.xyz", frames[:5])
    ase.io.write(tmp_path / "valid.traj", copy.deepcopy(frames[5:]))
    files = (config.data.train, tmp_path / "more.xyz")
    run = changed(config, data={"train": files, "valid": tmp_path / "valid.traj"})
    expected, found = load_dataset(run), load_dataset(stored(run))
    assert [s.name for s in found.train] == [s.name for s in expected.train]
    for one, other in zip(found.valid, expected.valid, strict=True):
        expect_same_samples(one, other)


def test_sizes_of_memory_have_units(config: TrainConfig) -> None:
    assert bytes_of("4 GB") == 4e9 and bytes_of("1.5kb") == 1500 and bytes_of(" 0 B ") == 0
    for text in ("4", "GB", "4 Gib", "-1 GB", "4 GB 2"):
        with pytest.raises(ValueError, match=r"expected a number and B, kB, MB, GB, TB"):
            stored(config, text)
