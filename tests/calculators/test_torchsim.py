"""TorchSim: its own validation, the numbers of ASE, conditions of every system, and errors."""

import warnings
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase import units
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed

from force_fields import SMALL, crystal, ethanol, force_field
from pair_model import PairModel
from sikff import ForceField, ForceFieldConfig
from sikff.calculators import SIKFFCalculator
from tolerances import TOLERANCES

ts = pytest.importorskip("torch_sim")
torchsim = pytest.importorskip("sikff.calculators.torchsim")

LIMITS = TOLERANCES[torch.float64]
CPU = torch.device("cpu")
STEP = 0.5e-3  # ps


def model_of(model: Any, **options: Any) -> Any:
    return torchsim.SIKFFModel(model, device="cpu", **options)


def state_of(frames: list[ase.Atoms], dtype: torch.dtype = torch.float64, **rows: Any) -> Any:
    """A state with further rows for each system: extras, or attributes where there are none."""
    state = ts.initialize_state(frames, CPU, dtype)
    tensors = {name: torch.tensor(values) for name, values in rows.items()}
    for name, tensor in tensors.items():
        if hasattr(state, "_system_extras"):
            state._system_extras[name] = tensor
        else:
            setattr(state, name, tensor)
    return state


def molecules() -> list[ase.Atoms]:
    frames = [ethanol(0), ethanol(1), molecule("H2O"), ase.Atoms("O")]
    for atoms in frames:
        atoms.center(vacuum=3.0)
    return frames


@pytest.mark.parametrize("weights", ["float32", "float64"])
def test_the_validation_of_torchsim_passes(weights: str, dtype: torch.dtype) -> None:
    """For states and weights of each dtype."""
    config = ForceFieldConfig(
        elements=("H", "C", "Mg", "Si", "Fe", "Ar"), **{**SMALL, "atomic_energies": {}}
    )
    model = model_of(ForceField(config), dtype=weights, state_dtype=dtype)
    ts.models.interface.validate_model_outputs(model, CPU, dtype)
    model.compute_stress = False
    assert "stress" not in model(ts.initialize_state(crystal_of("Si"), CPU, dtype))


def crystal_of(symbol: str) -> ase.Atoms:
    atoms = crystal()
    atoms.symbols[:] = symbol
    return atoms


def test_batches_give_the_numbers_of_ase(dtype: torch.dtype) -> None:
    """For states of each dtype; a mean over the models of a committee."""
    models = [force_field(seed=seed) for seed in (0, 1)]
    frames = [crystal(), crystal()]
    frames[1].rattle(0.1, seed=7)
    found = model_of(models)(state_of(frames, dtype))
    assert all(x.dtype == dtype and not x.requires_grad for x in found.values())
    size = 1.0 if dtype == torch.float64 else 1e4  # of positions that are rounded
    for k, atoms in enumerate(frames):
        atoms.calc = SIKFFCalculator(models, device="cpu")
        expected = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)
        got = found["energy"][k], found["forces"].view(2, -1, 3)[k], found["stress"][k]
        for one, other in zip(got, expected, strict=True):
            limit = TOLERANCES[dtype].parity * size * max(1.0, np.abs(other).max())
            assert np.abs(one.numpy() - other).max() < min(limit, 0.1)
            assert np.abs(other).max() > 1e-3


def test_molecules_have_no_stress() -> None:
    found = model_of(force_field())(state_of([molecule("H2O"), molecule("CH4")]))
    assert found["stress"].isnan().all() and found["stress"].shape == (2, 3, 3)
    assert found["forces"].isfinite().all()


def test_a_dictionary_is_a_state() -> None:
    model, state = model_of(force_field()), state_of([crystal()])
    names = ("positions", "cell", "pbc", "atomic_numbers", "system_idx")
    expected, found = model(state), model({name: getattr(state, name) for name in names})
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("name", ["electric_field", "external_E_field"])
def test_every_system_has_its_field(name: str) -> None:
    model, frames = force_field("C_inf_v", environment={"field": True}), molecules()
    fields = [[0.0, 0.0, 0.1 * k] for k in range(4)]
    found = model_of(model)(state_of(frames, **{name: fields}))
    for k, atoms in enumerate(frames):
        atoms.calc = SIKFFCalculator(model, device="cpu", electric_field=fields[k])
        assert abs(found["energy"][k] - atoms.get_potential_energy()) < 1e-8
    for_all = model_of(model, electric_field=fields[1])(state_of(frames))
    assert abs(for_all["energy"][1] - found["energy"][1]) < 1e-8
    assert abs(for_all["energy"][0] - found["energy"][0]) > 1e-6
    with pytest.raises(ValueError, match="expected one of them, or the same in both"):
        model_of(model, electric_field=fields[1])(state_of(frames, electric_field=fields))


def test_every_system_has_its_charge_and_spin() -> None:
    model, frames = force_field(environment={"charge": True, "spin": True}), molecules()
    found = model_of(model)(state_of(frames, charge=[0, 1, -1, 0], spin=[1, 2, 2, 3]))
    for k, (charge, spin) in enumerate([(0, 1), (1, 2), (-1, 2), (0, 3)]):
        atoms = frames[k]
        atoms.calc = SIKFFCalculator(model, device="cpu", charge=charge, spin=spin)
        assert abs(found["energy"][k] - atoms.get_potential_energy()) < 1e-8


def test_conditions_without_a_row_for_each_system_raise() -> None:
    state = state_of(molecules(), charge=[0, 1])
    with pytest.raises(ValueError, match="expected a row for each of 4 systems"):
        model_of(force_field(environment={"charge": True}))(state)
    with pytest.raises(ValueError, match="no parameter feild"):
        model_of(force_field(), feild=[0, 0, 1])


def test_energy_is_conserved() -> None:
    """Velocity Verlet: fluctuations are small beside the kinetic energy, and no drift."""
    state, model = state_of([ethanol(0), ethanol(1)]), model_of(force_field())
    kT, dt = torch.tensor(300 * units.kB), torch.tensor(STEP * 1e3 * units.fs)
    with warnings.catch_warnings():  # TorchSim copies tensors by torch.tensor
        warnings.simplefilter("ignore")
        if hasattr(ts, "nve_init"):
            state.rng = 0
            state = ts.nve_init(state, model, kT=kT)
        else:
            init, step = ts.nve(model, dt=dt, kT=kT, seed=0)
            state = init(state)
        totals = []
        for _ in range(100):
            advance = ts.nve_step if hasattr(ts, "nve_init") else step
            state = advance(state, model, dt=dt) if hasattr(ts, "nve_init") else advance(state)
            kinetic = (state.momenta**2 / (2 * state.masses[:, None])).sum(dim=1)
            sums = torch.zeros(2).double().index_add(0, state.system_idx, kinetic.double())
            totals.append(state.energy + sums)
    energies = torch.stack(totals)
    assert sums.min() > 0.05  # eV
    assert energies.std(dim=0).max() < 0.02 * sums.min()
    assert (energies[-20:].mean(dim=0) - energies[:20].mean(dim=0)).abs().max() < 0.02 * sums.min()


def test_autobatches_give_the_results_of_one_batch() -> None:
    frames = [crystal(), crystal_of("C"), crystal() * (1, 2, 1), crystal()]
    frames[3].rattle(0.05, seed=3)
    model = model_of(force_field())
    assert model.memory_scales_with == "n_atoms_x_density"
    options = {"model": model, "memory_scales_with": model.memory_scales_with}
    largest = float(len(frames[2])) ** 2 / frames[2].get_volume() * 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batcher = ts.BinningAutoBatcher(**options, max_memory_scaler=1.2 * largest)
        found = ts.static(state_of(frames), model, autobatcher=batcher)
    expected = model(state_of(frames))["energy"]
    assert len(batcher.index_bins) > 1
    energies = torch.stack([each["potential_energy"].flatten()[0] for each in found])
    assert (energies - expected).abs().max() < 1e-8
    by_atoms = model_of(force_field(), memory_scales_with="n_atoms")
    assert by_atoms.memory_scales_with == "n_atoms"


def test_nan_stops_a_simulation() -> None:
    model = model_of(PairModel(("H", "O")).double())
    state = state_of([molecule("H2O"), molecule("H2")])
    model(state)
    with torch.no_grad():
        model._evaluator.models[0].weight.fill_(torch.nan)
    with pytest.raises(CalculationFailed, match="NaN or infinity in energy"):
        model(state)


def test_atoms_too_near_to_each_other_stop_a_simulation() -> None:
    model, state = model_of(force_field()), state_of([molecule("H2O"), molecule("H2O")])
    model(state)
    state.positions[4] = state.positions[3] + 0.01
    with pytest.raises(ValueError, match=r"structure 1 of 2: atoms 0 \(O\) and 1 \(H\) are 0.017"):
        model(state)


def test_warnings_of_the_model_are_given_once() -> None:
    given = {"group": "C_inf_v", "environment": {"field": True, "field_max": 0.1}}
    model = model_of(force_field(**given), electric_field=[0, 0, 0.5])
    state = state_of([molecule("H2O")])
    with pytest.warns(UserWarning, match="beyond the training data"):
        model(state)
    model(state)
    assert len(model.extrapolation_warnings) == 1
