"""Batches hold each sample once an epoch, in random order, for any number of processes."""

import math

import ase
import pytest
import torch

from sikff.graph import AtomicGraph
from sikff.training.data.batches import Batches, Sample, Targets


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
