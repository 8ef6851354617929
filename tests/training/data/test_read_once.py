"""Conditions are parsed and labels found at most once for each structure."""

from collections import Counter
from collections.abc import Mapping

import ase
import ase.io
import pytest
import torch

from runs import changed
from sikff import ForceField, ForceFieldConfig
from sikff.forcefield import EnvironmentConfig
from sikff.graph.conditions import Conditions
from sikff.training.config import TrainConfig
from sikff.training.data import structures
from sikff.training.data.dataset import load_dataset
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.evaluation.predict import predict

SIZES = {"layers": 1, "channels": 2, "max_frequency": 1, "correlation": 1}
AT_A_PLANE = {"group": "C_inf_v", "environment": {"plane_origin": [0, 0, -9], "field": True}}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Calls of the parser of conditions and of the search for labels."""
    count: Counter[str] = Counter()
    parse, find = Conditions.of.__func__, structures.find_label

    def counted_parse(cls: type[Conditions], info: Mapping, *more: Mapping) -> Conditions:
        count["conditions"] += 1
        return parse(cls, info, *more)

    def counted_find(atoms: ase.Atoms, name: str, *key: str | None) -> object:
        count[name] += 1
        return find(atoms, name, *key)

    monkeypatch.setattr(Conditions, "of", classmethod(counted_parse))
    monkeypatch.setattr(structures, "find_label", counted_find)
    return count


def test_a_run_reads_each_structure_once(calls: Counter[str], config: TrainConfig) -> None:
    frames = ase.io.read(config.data.train, ":")
    for atoms in frames:
        atoms.info["electric_field"] = [0.0, 0.0, 0.1]
        atoms.pbc = (True, True, False)
    path = config.output.with_name("field.xyz")
    ase.io.write(path, frames)
    run = changed(
        config,
        data={"train": path, "valid": 3},
        model={**config.model, **AT_A_PLANE},
        loss={"stress": 1.0},
    )
    assert len(load_dataset(run).train) == 9
    assert calls == {"conditions": 14, "energy": 14, "forces": 12, "stress": 12}


def test_evaluation_and_prediction_read_each_structure_once(
    calls: Counter[str], frames: list[ase.Atoms]
) -> None:
    environment = EnvironmentConfig(**AT_A_PLANE["environment"])
    config = ForceFieldConfig(
        elements=("Cu", "Ni"), group="C_inf_v", environment=environment, **SIZES
    )
    with torch.random.fork_rng():
        models = [
            ForceField(config.model_copy(update={"cutoff": cutoff})).double()
            for cutoff in (3.0, 4.0)
        ]
    for atoms in frames:
        atoms.info["electric_field"] = [0.0, 0.0, 0.1]
    evaluate(models, frames)
    assert calls == {"conditions": 12, "energy": 12, "forces": 12, "stress": 12}
    calls.clear()
    with pytest.warns(UserWarning, match="leads through the plane: it is treated as open"):
        predict(models, frames)
    assert calls == {"conditions": 12}
