"""Models restricted to a subgroup: the same predictions, with more weights."""

from pathlib import Path
from typing import Any, TypeVar

import ase
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from force_fields import ELEMENTS, crystal, elements_of, ethanol, force_field, moved, predict
from sikff import ForceField, ForceFieldConfig, SymmetryGroup, load
from sikff.forcefield import EnvironmentConfig
from sikff.forcefield.corrected_model import build_corrected
from tolerances import TOLERANCES

Model = TypeVar("Model", bound=torch.nn.Module)

EXACT = TOLERANCES[torch.float64]
BARE: dict[str, Any] = {"atomic_energies": {}}  # large energies of free atoms would hide errors
ONE_LAYER = {"layers": 1, "correlation": 2, **BARE}
FIELD = {"field": (0.0, 0.0, 0.3)}
HIGH = {"plane_origin": (0.0, 0.0, -3.0), "plane_range": 8.0}


def perturbed(model: Model, seed: int = 1) -> Model:
    """The model after a random change of all its weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model


def size(model: ForceField) -> int:
    return sum(p.numel() for p in model.parameters())


def largest_change(model: ForceField, atoms: ase.Atoms, group: SymmetryGroup) -> float:
    """By how much energies change under elements of a group (eV)."""
    energy = predict(model, atoms).energy
    turned = [predict(model, moved(atoms, g)).energy for g in elements_of(group)]
    return max(abs(float(e - energy)) for e in turned)


def assert_same(one: ForceField, other: ForceField, atoms: ase.Atoms, **conditions: Any) -> None:
    stress = bool(atoms.cell.rank == 3)
    got, expected = (predict(m, atoms, stress=stress, **conditions) for m in (other, one))
    limit = TOLERANCES[one.dtype].parity
    for key in ("energies", "forces", *(["stress"] if stress else [])):
        values, wanted = getattr(got, key), getattr(expected, key)
        assert wanted.abs().max() > 1e-4
        assert (values - wanted).abs().max() <= limit * wanted.abs().max(), key


@pytest.mark.parametrize(
    "chain",
    [
        ("O(3)", "C_inf_v", "C4v", "C2", "C1"),
        ("O(3)", "D_inf_h", "SO(2)"),
        ("SO(3)", "SO(2)", "C4"),
        ("O(3)", "Oh", "C4v", "C2"),
        ("C_inf_v", "C1v"),
    ],
    ids=" > ".join,
)
def test_a_restricted_model_predicts_the_same_until_weights_change(chain: tuple[str, ...]) -> None:
    """At each step the same energies, forces and stress, more weights, and the smaller group."""
    model = force_field(chain[0], **ONE_LAYER)
    for name in chain[1:]:
        larger, restricted = model.group, model.restrict(name)
        assert restricted.group == SymmetryGroup(name)
        assert size(restricted) > size(model)
        for atoms in (ethanol(), crystal()):
            assert_same(model, restricted, atoms)
        assert largest_change(restricted, ethanol(), larger) < EXACT.invariance
        model = perturbed(restricted)
        assert largest_change(model, ethanol(), larger) > 1e-4
        assert largest_change(model, ethanol(), model.group) < EXACT.invariance


def test_a_restricted_model_can_be_saved_and_restricted_again(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    model = force_field("O(3)", energy_scale=0.5, zbl=True, **BARE).to(dtype)
    restricted = model.restrict("C_inf_v")
    assert restricted.dtype == dtype
    assert not restricted.training
    assert_same(model, restricted, ethanol())
    restricted.save(tmp_path / "restricted.sikff")
    loaded = load(tmp_path / "restricted.sikff")
    assert loaded.config.type_group == "O(3)"
    assert loaded.provenance["restricted_from"] == ["O(3)"]
    same = predict(loaded, ethanol()).forces == predict(restricted, ethanol()).forces
    assert bool(same.all())
    smaller = loaded.restrict("C6v")
    assert_same(model, smaller, ethanol())
    assert_same(model, smaller.restrict("C1"), ethanol())


@settings(max_examples=4)
@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: np.linalg.norm(axis) > 0.1))
def test_a_subgroup_about_any_axis(axis: tuple[float, float, float]) -> None:
    model = force_field("O(3)", **ONE_LAYER)
    axial = model.restrict("C_inf_v", axis=axis)
    assert axial.group == SymmetryGroup("C_inf_v", axis)
    assert_same(model, axial, ethanol())
    perturbed(axial)
    assert largest_change(axial, ethanol(), axial.group) < EXACT.invariance
    assert largest_change(axial, ethanol(), SymmetryGroup("O(3)")) > 1e-4
    for smaller in ("C3v", "C1"):
        assert_same(axial, axial.restrict(smaller), ethanol())


def test_training_uses_the_new_weights() -> None:
    """What an O(3) model can never learn: a difference between up and down."""
    model = force_field("O(3)", **ONE_LAYER).restrict("C_inf_v").train()
    up, down = ethanol(), moved(ethanol(), np.diag([1.0, 1.0, -1.0]))

    def difference() -> torch.Tensor:
        return predict(model, up).energy[0] - predict(model, down).energy[0]

    assert abs(difference().item()) < EXACT.invariance
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(3):
        optimiser.zero_grad()
        loss = (difference() - 0.1) ** 2
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.9 * 0.1**2


def test_a_new_environment_has_no_effect_until_trained() -> None:
    model = force_field("O(3)", **ONE_LAYER)
    extended = model.restrict("C_inf_v", environment=EnvironmentConfig(field=True, **HIGH))
    plain, inside = predict(model, ethanol()), predict(extended, ethanol(), **FIELD)
    assert (plain.energies - inside.energies).abs().max() < EXACT.parity
    assert (plain.forces - inside.forces).abs().max() < EXACT.parity
    extended.train()
    (predict(extended, ethanol(), **FIELD).forces ** 2).sum().backward()
    assert extended.one_body.weights[-1].grad.any()
    assert extended.network.start.weights[0].grad[len(ELEMENTS) :].any()
    assert extended.network.interactions[0].gate.grad[len(ELEMENTS) :].any()


@pytest.mark.parametrize(
    ("group", "smaller", "environment"),
    [
        ("C_inf_v", "C3v", {"field": True, **HIGH, "surfaces": ("a", "b")}),
        ("C_inf_v", "C1", {"field": True}),
        ("D_inf_h", "C6v", {**HIGH, "slit_width": 9.0}),
    ],
)
@pytest.mark.parametrize("vacuum", [None, "O(3)"])
def test_models_in_an_environment(
    group: str, smaller: str, environment: dict[str, Any], vacuum: str | None
) -> None:
    model = force_field(group, environment=environment, vacuum_group=vacuum, **ONE_LAYER)
    conditions: dict[str, Any] = FIELD if model.config.environment.field else {}
    if model.surfaces:
        conditions = {**conditions, "surface": "b"}
    restricted = model.restrict(smaller)
    assert_same(model, restricted, ethanol(), **conditions)
    assert_same(perturbed(restricted), restricted.restrict("C1"), ethanol(), **conditions)


def test_limits_of_the_training_data_may_change() -> None:
    model = force_field("C_inf_v", environment={"field": True}, **ONE_LAYER)
    extended = model.restrict("C_inf_v", environment=EnvironmentConfig(field=True, field_max=0.5))
    assert extended.config.environment.field_max == 0.5
    assert extended.config.type_group is None
    assert_same(model, extended, ethanol(), **FIELD)


def test_a_model_that_reads_a_vector_field_keeps_its_group() -> None:
    model, limited = _reads_vector_field(), EnvironmentConfig(field=True, field_max=0.5)
    assert_same(model, model.restrict("O(3)", environment=limited), ethanol(), **FIELD)


def test_a_correction_is_zero_until_it_is_trained() -> None:
    vacuum = force_field("O(3)", **ONE_LAYER)
    environment = EnvironmentConfig(field=True, **HIGH)
    new = {"group": "C3v", "vacuum_group": "O(3)", "environment": environment}
    config = vacuum.config.model_copy(update=new)
    model = build_corrected(vacuum, config)
    plain, inside = predict(vacuum, ethanol()), predict(model, ethanol(), **FIELD)
    assert torch.equal(plain.energies, inside.energies)
    assert (plain.forces - inside.forces).abs().max() < EXACT.invariance
    perturbed(model.one_body)
    assert (predict(model, ethanol(), **FIELD).energy - plain.energy).abs().max() > 1e-4
    with pytest.raises(ValueError, match=r"one of O\(3\), which cannot .* vacuum_group is SO\(3\)"):
        build_corrected(vacuum, config.model_copy(update={"vacuum_group": "SO(3)", "group": "C3"}))
    with pytest.raises(ValueError, match="has other cutoff, layers than the trained model"):
        build_corrected(vacuum, config.model_copy(update={"layers": 2, "cutoff": 4.5}))


def test_types_of_the_group_itself_are_the_ordinary_model() -> None:
    one, two = (force_field("C_inf_v", type_group=t) for t in (None, "C_inf_v"))
    assert torch.equal(predict(one, ethanol()).forces, predict(two, ethanol()).forces)


def test_the_same_axis_may_be_of_any_length() -> None:
    model = force_field("C_inf_v", axis=(1.0, 2.0, 2.0), **ONE_LAYER)
    smaller = model.restrict("C3v", axis=(0.5, 1.0, 1.0))
    assert smaller.group == SymmetryGroup("C3v", (1, 2, 2))
    with pytest.raises(ValueError, match="an axis can be chosen for"):
        model.restrict("C3v", axis=(-1.0, -2.0, -2.0))


def test_impossible_restrictions_raise() -> None:
    model = force_field("O(3)", **ONE_LAYER)
    axial = force_field("C_inf_v", environment={"field": True}, **ONE_LAYER)
    with pytest.raises(ValueError, match=r"O\(3\) is not a subgroup of the model's group C_inf_v"):
        axial.restrict("O(3)")
    with pytest.raises(ValueError, match=r"C4 is not a subgroup of the model's group C6v"):
        model.restrict("C6v").restrict("C4")
    with pytest.raises(ValueError, match="unknown symmetry group 'C5x'"):
        model.restrict("C5x")
    with pytest.raises(ValueError, match=r"axis is \(1.0, 0.0, 0.0\), but the model is one of C_"):
        axial.restrict("C3v", axis=(1, 0, 0))
    with pytest.raises(ValueError, match="three finite numbers"):
        model.restrict("C3v", axis=(0, 0, 0))
    with pytest.raises(ValueError, match="which cannot become"):
        axial.restrict("C3v", environment=EnvironmentConfig(**HIGH))
    with pytest.raises(ValueError, match="a plane needs a group that keeps its normal"):
        model.restrict("D_inf_h", environment=EnvironmentConfig(**HIGH))
    for start, environment in (
        (model, EnvironmentConfig(field=True)),
        (_reads_vector_field(), None),
    ):
        with pytest.raises(ValueError, match="reads a field that the group turns"):
            start.restrict("D_inf_h", environment=environment)
    with pytest.raises(ValueError, match=r"type_group \(C6v\) must contain group \(C4v\)"):
        ForceFieldConfig(elements=ELEMENTS, group="C4v", type_group="C6v")


def _reads_vector_field() -> ForceField:
    return force_field("O(3)", environment={"field": True}, **ONE_LAYER)
