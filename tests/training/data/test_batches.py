"""Batches hold each sample once an epoch, in random order, for any number of processes."""

import math
import threading

import ase
import pytest
import torch

from sikff.graph import AtomicGraph
from sikff.training.data.batches import (
    Batch,
    Batches,
    Sample,
    Targets,
    change_tensors,
    prefetched,
)


@pytest.fixture
def samples() -> list[Sample]:
    """Twelve chains of one to twelve atoms, whose energies are their numbers."""
    found = []
    for n in range(1, 13):
        atoms = ase.Atoms(f"H{n}", positions=[[k, 0, 0] for k in range(n)])
        targets = Targets(torch.tensor([float(n)]), torch.zeros(n, 3))
        found.append(Sample(AtomicGraph.from_atoms(atoms, 1.5, ("H",)), targets, f"structure {n}"))
    return found


def energies(batches: Batches, epoch: int) -> list[float]:
    batches.set_epoch(epoch)
    return torch.cat([batch.targets.energy for batch in batches]).tolist()


def test_each_epoch_permutes_all_samples(samples: list[Sample]) -> None:
    batches = Batches(samples, 5, seed=3)
    assert len(batches) == len(list(batches)) == 3
    assert energies(batches, 0) == energies(batches, 0)
    assert energies(batches, 0) != energies(batches, 1)
    assert sorted(energies(batches, 0)) == sorted(energies(batches, 1)) == list(range(1, 13))
    batch = next(iter(Batches(samples, 5)))
    assert batch.names == tuple(f"structure {n}" for n in range(1, 6))
    assert (batch.graph.n_graphs, batch.graph.n_atoms) == (5, 15)
    assert batch.sizes == (5, 3 * 15, 0)  # there is no stress
    assert batch.targets.forces.shape == batch.graph.positions.shape


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_every_batch(samples: list[Sample], processes: int) -> None:
    whole = list(Batches(samples, 11, seed=3))
    parts = [list(Batches(samples, 11, 3, rank, processes)) for rank in range(processes)]
    for k, batch in enumerate(whole):
        shares = [part[k] for part in parts]
        assert sorted(batch.names) == sorted(name for share in shares for name in share.names)
        for share in shares:
            if share.names:
                assert share.sizes.energy * processes == batch.sizes.energy
                assert share.sizes.forces * processes == pytest.approx(batch.sizes.forces)
    (busy, *idle) = [part[-1] for part in parts]  # the last batch is one structure
    assert len(busy.names) == 1
    for share in idle:
        assert share.names == ()
        assert set(share.sizes) == {math.inf}
        assert share.graph.n_atoms == busy.graph.n_atoms


def test_batches_between_epochs_are_those_of_the_epochs(samples: list[Sample]) -> None:
    batches = Batches(samples, 5, seed=3)
    names = []
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        names += [batch.names for batch in batches]
    assert names[0] != names[len(batches)]
    first = len(batches) - 1
    assert [batch.names for batch in batches.between(first, 3)] == names[first : first + 3]


def test_prefetched_batches_are_the_same_and_come_from_another_thread(
    samples: list[Sample],
) -> None:
    batches, threads = Batches(samples, 5, seed=3), []

    def prepare(batch: Batch) -> Batch:
        threads.append(threading.current_thread())
        return change_tensors(batch, torch.clone)

    found = list(prefetched(batches, prepare))
    assert [batch.names for batch in found] == [batch.names for batch in batches]
    for one, other in zip(found, batches, strict=True):
        assert torch.equal(one.graph.edge_index, other.graph.edge_index)
        assert torch.equal(one.targets.forces, other.targets.forces)
        assert one.targets.stress is None and one.weights is None
    assert threading.current_thread() not in threads and len(threads) == len(found)


def test_one_batch_is_prepared_ahead(samples: list[Sample]) -> None:
    made: list[int] = []
    ready = threading.Semaphore(0)

    def prepare(batch: Batch) -> Batch:
        made.append(len(batch.names))
        ready.release()
        return batch

    found = prefetched(Batches(samples, 2), prepare)
    for number in range(2):
        next(found)
        for _ in range(2 - number):
            assert ready.acquire(timeout=20)
        assert len(made) == number + 2
    found.close()  # as where a run ends within an epoch
    assert len(made) == 3


def test_an_error_in_a_prefetched_batch_is_raised_where_it_is_used(samples: list[Sample]) -> None:
    def prepare(batch: Batch) -> Batch:
        if "structure 5" in batch.names:
            raise ValueError("broken")
        return batch

    found = prefetched(Batches(samples, 2), prepare)
    assert [next(found).names[0] for _ in range(2)] == ["structure 1", "structure 3"]
    with pytest.raises(ValueError, match="broken"):
        next(found)
