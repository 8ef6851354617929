"""Files that exported force fields are in, and what stops an export before it takes time."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase
import pytest
import torch

from force_fields import crystal, ethanol, force_field, graph_of
from sikff import ForceField
from sikff.calculators import export
from sikff.calculators.export import check_compiler, export_compiled
from sikff.forcefield import EnergyModel
from sikff.training.cli import main
from tolerances import TOLERANCES

TINY = {"layers": 1, "channels": 2, "max_frequency": 1, "correlation": 1}
PAGE = Path(__file__).parents[2] / "docs/howto/export.md"
# Run where sikff cannot be imported, after the blocks of the page.
STRANGER = """
import json, numpy
found = []
for atoms in ase.io.read("structures.xyz", ":"):
    inputs = (atoms.numbers, *neighbor_list("ijS", atoms, model.cutoff), atoms.cell.array)
    results = model(atoms.positions, *inputs)
    turned = model(torch.tensor(atoms.positions.T.copy()).T, *inputs)  # not contiguous
    assert torch.equal(results["forces"], turned["forces"])
    found.append({name: result.tolist() for name, result in results.items()})
try:
    model([[0, 0, 0]], [2], [], [], numpy.zeros((0, 3)))
except ValueError as error:
    found.append(str(error))
x, cell, shifts = (torch.zeros(*size).double() for size in ((97, 3), (3, 3), (97, 61, 3)))
z, senders = torch.full((97,), 2), torch.full((97, 61), -1)
found.append(model.function(x, z, cell, senders, shifts)[0].isnan().item())
json.dump(found, open("found.json", "w"))
"""


def program() -> str:
    """The blocks of the page on files .pt2, and more, without sikff."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    own = [block for block in blocks if "metatomic" not in block]
    assert len(own) == 3
    return "\n".join(["import sys", "sys.modules['sikff'] = None", *own, STRANGER])


def has_compiler() -> bool:
    try:
        check_compiler()
    except OSError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
def test_a_compiled_model_predicts_what_the_model_predicts_where_there_is_no_sikff(
    tmp_path: Path,
) -> None:
    """For numbers of atoms other than it was compiled for, and atoms so near that activations are
    large, where derivatives of compiled functions have overflowed elsewhere."""
    model = force_field(**TINY).float()
    export_compiled(model, tmp_path / "model.pt2", "CC-BY-4.0")
    near = ase.Atoms("OHHO", [[0, 0, 0], [0, 0, 0.12], [0, 0.15, 0], [2, 0, 0]])
    structures = [ethanol(), crystal(), crystal() * (2, 2, 2), ase.Atoms("H"), near]
    ase.io.write(tmp_path / "structures.xyz", structures)
    ase.io.write(tmp_path / "start.xyz", ethanol())
    (tmp_path / "run.py").write_text(program(), encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "run.py"], cwd=tmp_path, check=True, env=environment)
    *found, message, is_nan = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert "does not know the atomic numbers [2]" in message
    assert is_nan
    limits = TOLERANCES[torch.float32]
    for atoms, results in zip(structures, found, strict=True):
        expected = model(graph_of(model, atoms), stress=True)
        size = 1 + expected.forces.abs().max()
        assert abs(results["energy"] - expected.energy.item()) < limits.parity * len(atoms) * 100
        forces = torch.tensor(results["forces"]).double()
        assert (forces - expected.forces).abs().max() < limits.gradient * size
        if atoms.cell.volume:
            stress = torch.tensor(results["stress"])
            assert (stress - expected.stress[0]).abs().max() < limits.gradient
    assert [path.name for path in tmp_path.glob("*.pt2")] == ["model.pt2"]


def test_without_a_compiler_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no-such-compiler"))
    monkeypatch.setattr(export, "export_program", pytest.fail)
    with pytest.raises(OSError, match=r"no C\+\+ compiler here \(no-such-compiler\); install one"):
        export_compiled(force_field(**TINY), tmp_path / "model.pt2")
    force_field(**TINY).save(tmp_path / "model.sikff")
    assert main(["export", str(tmp_path / "model.sikff"), "--to", str(tmp_path / "m.pt2")]) == 2
    assert "no C++ compiler here" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model.sikff"]


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Exporting, without a compiler: "calls" holds the names of what would have been compiled."""

    class Package:
        def get_metadata(self) -> dict[str, str]:
            return made["metadata"]

        def __call__(self, *tensors: torch.Tensor) -> Any:
            return made["program"].module()(*tensors)

    def compile_and_package(program: Any, package_path: Any, inductor_configs: Any) -> Any:
        made["program"] = program
        made["metadata"] = inductor_configs["aot_inductor.metadata"]
        package_path.write(b"compiled")
        return package_path

    made: dict[str, Any] = {}
    monkeypatch.setattr(export, "check_compiler", lambda: None)
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compile_and_package)
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda path: Package())
    return made


def test_a_file_appears_when_it_predicts_what_the_model_does(
    tmp_path: Path, uncompiled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = tmp_path / "model.pt2", force_field(**TINY)
    path.write_bytes(b"an older one")
    traced = export.trace_derivatives

    def wrong(model: ForceField) -> Any:
        for weight in model.parameters():
            weight.data *= 1.01
        return traced(model)

    with monkeypatch.context() as patched:
        copy = force_field(**TINY)
        patched.setattr(export, "trace_derivatives", lambda _: wrong(copy))
        with pytest.raises(RuntimeError, match=r"differs from the model by .* nothing was written"):
            export_compiled(model, path)
    assert path.read_bytes() == b"an older one"
    export_compiled(model, path, "CC0")
    assert path.read_bytes() == b"compiled"
    assert [each.name for each in tmp_path.iterdir()] == ["model.pt2"]
    assert json.loads(uncompiled["metadata"]["sikff"])["licence"] == "CC0"
    compile(uncompiled["metadata"]["loader"], "loader.py", "exec")


def test_a_compiler_that_fails_is_reported(
    tmp_path: Path, uncompiled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("C++ compile error\nPython.h: no such file")

    monkeypatch.setattr(export, "export_program", lambda model: None)
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fail)
    with pytest.raises(OSError, match=r"torch cannot compile on this machine: C\+\+ compile error"):
        export_compiled(force_field(**TINY), tmp_path / "model.pt2")
    assert list(tmp_path.iterdir()) == []


def test_other_models_and_committees_raise(tmp_path: Path) -> None:
    for models in (EnergyModel(), [force_field(**TINY)] * 2):
        with pytest.raises(ValueError, match="members of a committee are exported one by one"):
            export_compiled(models, tmp_path / "model.pt2")


def test_the_model_that_is_exported_stays_as_it_is(
    tmp_path: Path, uncompiled: dict[str, Any]
) -> None:
    model = force_field(**TINY).train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    export_compiled(model, tmp_path / "model.pt2")
    assert model.training and all(weight.requires_grad for weight in model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_the_command_checks_names_before_it_reads_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.pt2").touch()
    for name, message in (
        ("model.onnx", "expected a name in .pt2 or .pt"),
        ("old.pt2", "exists; choose another name or add --overwrite"),
    ):
        assert main(["export", str(tmp_path / "missing"), "--to", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err


def test_the_command_writes_a_file(
    tmp_path: Path, uncompiled: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.sikff"
    force_field(**TINY).save(model)
    to = tmp_path / "new" / "model.pt2"
    assert (
        main(["export", str(model), "--to", str(to), "--dtype", "float32", "--licence", "MIT"]) == 0
    )
    assert f"wrote {to}" in capsys.readouterr().out
    described = json.loads(uncompiled["metadata"]["sikff"])
    assert described["dtype"] == "float32" and described["licence"] == "MIT"
    assert to.read_bytes() == b"compiled"


def test_a_missing_metatomic_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sikff.training.cli.export.find_spec", lambda name: None)
    to = str(tmp_path / "model.pt")
    assert main(["export", str(tmp_path / "missing"), "--to", to]) == 2
    assert "pip install 'sikff[metatomic]'" in capsys.readouterr().err
