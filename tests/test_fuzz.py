"""Damaged input of every kind is refused in one sentence: never a traceback, never a hang."""

import io
import json
import re
import struct
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import ase.io
import pytest
import yaml
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st

from sikff import load
from sikff.calculators import SIKFFCalculator
from sikff.training.cli import main
from sikff.training.config import TrainConfig, read_config
from sikff.training.data.dataset import Dataset, load_dataset

MODEL = Path(__file__).parent / "data" / "format_1" / "O3.sikff"
CONFIG = {
    "data": {"train": "a.xyz", "valid": 0.2, "energy_key": "E"},
    "model": {"group": "C_inf_v", "axis": [0, 0, 1], "environment": {"field": True}, "channels": 4},
    "loss": {"forces": 10.0, "kind": "huber"},
    "batch_size": 4,
    "max_epochs": 3,
    "dtype": "float32",
}
WEIRD = ["nan", "inf", "-1", "0", "-0.0", "1e30", "1e-30", "9" * 12, "-" + "9" * 30, "é", "\0"]
WEIRD += ["T", "Xx", "H", "[1, 2]", "[[1, 2], [3]]", "{a: 1}", "R:3", "S:1:", "pos:R:-3", "=", '"']
WEIRD += ["&a [*a]", "*b", "!!timestamp x", "!!python/name:os.system", "null", "2020-13-41", "0x"]
T = TypeVar("T")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def refused(attempt: Callable[[], T]) -> T | None:
    """What the attempt gives, or None if it refuses its input in one sentence."""
    try:
        return attempt()
    except (ValueError, OSError) as error:
        assert str(error)
        assert "\n" not in str(error)
        assert len(str(error)) < 2000
        return None


@st.composite
def damaged(draw: st.DrawFn, text: str) -> bytes:
    """The text with words replaced, lines lost, doubled or swapped, bytes flipped, an end cut."""
    for _ in range(draw(st.integers(1, 3))):
        words = list(re.finditer(r'[^\s:=",\[\]{}]+', text))
        lines = text.splitlines(keepends=True)
        line = draw(st.integers(0, max(len(lines) - 1, 0)))
        match draw(st.sampled_from(["word", "word", "word", "drop", "double", "swap", "insert"])):
            case "word" if words:
                word = words[draw(st.integers(0, len(words) - 1))]
                new = draw(st.sampled_from(WEIRD) | st.text(max_size=4))
                text = text[: word.start()] + new + text[word.end() :]
            case "drop":
                text = "".join(lines[:line] + lines[line + 1 :])
            case "double":
                text = "".join(lines[: line + 1] + lines[line:])
            case "swap":
                text = "".join(lines[line:] + lines[:line])
            case _:
                place = draw(st.integers(0, len(text)))
                text = text[:place] + draw(st.sampled_from(WEIRD)) + text[place:]
    data = bytearray(text.encode())
    if draw(st.integers(0, 3)) == 0:
        for place in draw(st.lists(st.integers(0, max(len(data) - 1, 0)), max_size=3)):
            data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
        data = data[: draw(st.integers(0, len(data)) | st.just(len(data)))]
    return bytes(data)


@st.composite
def changed(draw: st.DrawFn, tree: Any) -> Any:
    """The tree of dicts and lists with one entry, however deep, replaced or lost."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key = draw(st.sampled_from(keys))
    new = tree.copy()
    value = tree[key]
    if isinstance(value, dict | list) and value and draw(st.integers(0, 3)):
        new[key] = draw(changed(value))
    elif draw(st.integers(0, 5)) == 0:
        del new[key]
    else:
        new[key] = draw(VALUES)
    return new


SIMPLE = (
    st.none() | st.booleans() | st.integers() | st.floats(width=32) | st.text(max_size=8)
    | st.sampled_from([0, -1, 1, 2, 10**9, 10**18, 10**400, 1e-30, 1e30, *WEIRD])
)  # fmt: skip
VALUES = SIMPLE | st.lists(SIMPLE, max_size=3) | st.dictionaries(st.text(max_size=3), SIMPLE)


def readable(path: Path, overrides: list[str] | None = None) -> None:
    config = refused(lambda: read_config(path, overrides or []))
    assert config is None or isinstance(config, TrainConfig)


def test_what_is_whole_is_accepted(folder: Path, labelled: str) -> None:
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    assert read_config(path).data.energy_key == "E"
    write_model(folder / "m.sikff", HEADER, OUTER)
    assert load(folder / "m.sikff").config == load(MODEL).config
    assert len(structures(folder / "a.xyz").train) == 3


@settings(max_examples=600)
@given(data=damaged(yaml.safe_dump(CONFIG)) | st.binary(max_size=40))
def test_configuration_text(folder: Path, data: bytes) -> None:
    path = folder / "c.yaml"
    path.write_bytes(data)
    readable(path)


@settings(max_examples=300)
@given(tree=changed(CONFIG))
def test_configuration_values(folder: Path, tree: Any) -> None:
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    readable(path)


KEYS = [
    "lr",
    "data",
    "data.valid",
    "model",
    "model.axis",
    "model.environment.field",
    "a.b",
    "",
    ".",
]


@settings(max_examples=200)
@given(key=st.sampled_from(KEYS) | st.text(), value=st.sampled_from(WEIRD) | st.text())
def test_configuration_overrides(folder: Path, key: str, value: str) -> None:
    path = folder / "o.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    readable(path, [f"{key}={value}"])


TRAPS = {
    "deep lists": "[" * 3000,
    "deep keys": "{a: " * 5000,
    "a list in itself": "data: &a {train: *a}",
    "all in itself": "&a {data: *a}",
    "a billion words": "x: [&x0 a"
    + "".join(f", &x{k} [*x{k - 1}, *x{k - 1}]" for k in range(1, 40))
    + "]\ndata: {train: a.xyz, valid: *x39}\nloss: *x39\n",
    "a long integer": "max_epochs: " + "9" * 5000,
    "a longer one": "max_epochs: 0x" + "9" * 5000,
    "a long float": "lr: 1" + "0" * 400 + ".0",
    "a long name": "x" * 100_000 + ": 1",
    "two documents": "---\na: 1\n---\n",
    "a mark": "\ufeff",
}


@pytest.mark.parametrize("name", TRAPS)
def test_configuration_traps(folder: Path, name: str) -> None:
    (folder / "t.yaml").write_text(TRAPS[name], encoding="utf-8")
    assert refused(lambda: read_config(folder / "t.yaml")) is None


@pytest.fixture(scope="module")
def labelled(folder: Path) -> str:
    frames = []
    for place in range(4):
        atoms = molecule("H2O", cell=[8.0, 8.0, 8.0], pbc=(True, True, False))
        atoms.rattle(0.05, seed=place)
        forces = 0.1 * atoms.positions
        atoms.calc = SinglePointCalculator(atoms, energy=-2081.0 + 0.1 * place, forces=forces)
        atoms.info["electric_field"] = [0.0, 0.0, 0.1 * place]
        frames.append(atoms)
    ase.io.write(folder / "a.xyz", frames)
    return (folder / "a.xyz").read_text()


def structures(path: Path) -> Dataset:
    config = {"data": {"train": path, "valid": 1}, "model": {"cutoff": 3.0}, "max_epochs": 1}
    return load_dataset(TrainConfig.model_validate(config))


@settings(max_examples=500)
@given(data=st.data())
def test_structures(folder: Path, labelled: str, data: st.DataObject) -> None:
    path = folder / "b.xyz"
    path.write_bytes(data.draw(damaged(labelled)))
    dataset = refused(lambda: structures(path))
    assert dataset is None or len(dataset.train) + len(dataset.valid) > 1


WHOLE = MODEL.read_bytes()
LENGTH = 8 + struct.unpack("<Q", WHOLE[:8])[0]
OUTER = json.loads(WHOLE[8:LENGTH])
HEADER = json.loads(OUTER["__metadata__"]["sikff"])


def works(path: Path) -> None:
    model = refused(lambda: load(path))
    if model is not None:
        atoms = molecule("CH3OH")
        atoms.calc = SIKFFCalculator(model.double(), device="cpu")
        assert atoms.get_forces().shape == (6, 3)


def write_model(path: Path, header: Any, outer: Any) -> None:
    if isinstance(outer, dict):
        outer = {**outer, "__metadata__": {"sikff": json.dumps(header)}}
    text = json.dumps(outer).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + WHOLE[LENGTH:])


@settings(max_examples=300)
@given(header=changed(HEADER) | changed(HEADER["config"]).map(lambda c: {**HEADER, "config": c}))
def test_headers_of_models(folder: Path, header: Any) -> None:
    write_model(folder / "m.sikff", header, OUTER)
    works(folder / "m.sikff")


@settings(max_examples=200)
@given(outer=changed({key: value for key, value in OUTER.items() if key != "__metadata__"}))
def test_tensors_of_models(folder: Path, outer: Any) -> None:
    write_model(folder / "m.sikff", HEADER, outer)
    works(folder / "m.sikff")


@settings(max_examples=500)
@given(
    flips=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=4),
    end=st.integers(0, len(WHOLE)) | st.just(len(WHOLE)),
)
def test_bytes_of_models(folder: Path, flips: list[tuple[int, int]], end: int) -> None:
    data = bytearray(WHOLE)
    for place, value in flips:
        data[place] = value
    (folder / "m.sikff").write_bytes(data[:end])
    works(folder / "m.sikff")


OPTIONS = ["--steps", "--log", "--trajectory", "--field", "--constraints", "--device", "--dtype"]
OPTIONS += ["--json", "--plots", "--batch-size", "--fmax", "--output", "--resume", "--quiet"]
OPTIONS += ["--help", "--version", "--committee", "--skin", "--ensemble", "--every", "--overwrite"]
NAMES = [str(MODEL), "c.yaml", "bad.xyz", "absent", ".", "", "\0", "a" * 300, "lr=1", "--", "bad@0"]
WORD = st.sampled_from([*OPTIONS, *NAMES, *WEIRD]) | st.text(max_size=5)


@settings(max_examples=400)
@given(
    command=st.sampled_from(["train", "evaluate", "info", "md", "relax"]) | WORD,
    files=st.lists(st.sampled_from(NAMES), max_size=2),
    rest=st.lists(WORD, max_size=5),
)
def test_arguments(folder: Path, command: str, files: list[str], rest: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("c.yaml").write_text(yaml.safe_dump(CONFIG | {"data": {"train": "bad.xyz"}}))
        Path("bad.xyz").write_text("bad")
        output, complaint = io.StringIO(), io.StringIO()
        with redirect_stdout(output), redirect_stderr(complaint):
            try:
                code: object = main([command, *files, *rest])
            except SystemExit as end:
                code = end.code
    assert code in (0, 2)
    said = complaint.getvalue()
    assert said.startswith("sikff: ") and said.count("\n") == 1 if code else not said
