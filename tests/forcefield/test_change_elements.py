"""Models of other elements: the same predictions for those that stay."""

from pathlib import Path

import pytest
import torch

from force_fields import ELEMENTS, force_field
from model_kinds import CONDITIONS, KINDS, box, graph_for
from sikff import ForceField, load
from sikff.forcefield import Prediction
from sikff.forcefield.change_elements import change_elements
from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64]
WITHOUT_DATA = [kind for kind in KINDS if kind not in ("distances", "heights", "plane")]


def assert_same(got: Prediction, expected: Prediction) -> None:
    for name in ("energies", "forces"):
        values, wanted = getattr(got, name), getattr(expected, name)
        assert wanted.abs().max() > 1e-3
        torch.testing.assert_close(values, wanted, rtol=0, atol=1e-12 * float(wanted.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("elements", [("O", "H", "C"), ("O", "N", "H", "Al", "C", "Si")])
def test_elements_that_stay_keep_their_energies(kind: str, elements: tuple[str, ...]) -> None:
    model = force_field(**KINDS[kind], seed=1)
    changed = change_elements(model, elements, {"N": "C", "Si": "Al"})
    assert changed.elements == elements
    assert_same(changed(graph_for(changed, kind)), model(graph_for(model, kind)))


@pytest.mark.parametrize("kind", WITHOUT_DATA)
def test_a_new_element_begins_as_the_one_it_is_like(kind: str) -> None:
    model = force_field(**KINDS[kind])
    changed = change_elements(model, ("H", "O", "N"), {"N": "C"})
    graph = graph_for(model, kind)
    atoms = box()
    atoms.symbols = ["N" if symbol == "C" else symbol for symbol in atoms.symbols]
    renamed = AtomicGraph.from_atoms(
        atoms,
        model.cutoff,
        changed.elements,
        conditions=Conditions(**CONDITIONS.get(kind, {})),
        surfaces=model.surfaces,
    )
    assert_same(changed(renamed), model(graph))


def test_a_new_element_has_no_distances_seen() -> None:
    model = force_field(**KINDS["distances"])
    changed = change_elements(model, ("H", "C", "N"), {"N": "C"})
    assert changed.config.distances_seen == model.config.distances_seen


def test_weights_grow_by_the_same_number_for_every_element(tmp_path: Path) -> None:
    model = force_field(channels=8)
    more = change_elements(model, [*ELEMENTS, "N"], {"N": "C"})
    most = change_elements(model, [*ELEMENTS, "N", "P", "S"], {"N": "C", "P": "C", "S": "O"})
    sizes = [sum(p.numel() for p in each.parameters()) for each in (model, more, most)]
    assert sizes[2] - sizes[0] == 3 * (sizes[1] - sizes[0]) > 0
    most.save(tmp_path / "most.sikff")
    read = load(tmp_path / "most.sikff")
    assert_same(read(graph_for(read, "O(3)")), model(graph_for(model, "O(3)")))
    fewer = change_elements(read, ELEMENTS)
    assert isinstance(fewer, ForceField) and fewer.config.start_channels == 4
    assert_same(fewer(graph_for(fewer, "O(3)")), model(graph_for(model, "O(3)")))


def test_unknown_elements_are_refused() -> None:
    with pytest.raises(ValueError, match="the model does not know N, but H, C, O, Al; expected"):
        change_elements(force_field(), ("H", "N"))
    with pytest.raises(ValueError, match="does not know N"):
        change_elements(force_field(), ("H", "N"), {"N": "P"})
