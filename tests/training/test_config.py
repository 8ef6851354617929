"""The configuration: what is read, and the errors of what is not."""

from pathlib import Path

import pytest

from sikff.training.config import TrainConfig, read_config

TEXT = "data: {train: a.xyz}\nmodel: {group: SO(2), axis: [0, 0, 1]}\nmax_epochs: 2\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(TEXT)
    return path


def test_reads_yaml_and_overrides(path: Path) -> None:
    config = read_config(
        path, ["model.cutoff=4.5", "data.valid=[b.xyz, c.xyz]", "loss.kind=mse", "lr=1e-3"]
    )
    assert config.model == {"group": "SO(2)", "axis": [0, 0, 1], "cutoff": 4.5}
    assert config.data.valid == (Path("b.xyz"), Path("c.xyz"))
    assert (config.loss.kind, config.lr, config.max_epochs) == ("mse", 0.001, 2)


def test_elements_may_be_atomic_numbers(path: Path) -> None:
    given = ["model.elements=[1, O]", "model.atomic_energies={1: -13.6}"]
    model = read_config(path, [*given, "model.atomic_energies.8=-432"]).model
    assert model["elements"] == ["H", "O"]
    assert model["atomic_energies"] == {"H": -13.6, "O": -432.0}


@pytest.mark.parametrize(
    ("valid", "read"), [("0.2", 0.2), ("20", 20), ("v.xyz", Path("v.xyz")), ("1", 1)]
)
def test_valid_is_a_fraction_a_number_or_a_file(path: Path, valid: str, read: object) -> None:
    value = read_config(path, [f"data.valid={valid}"]).data.valid
    assert value == read
    assert type(value) is type(read)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.atomic_energies=3", "model: atomic_energies: input should be a valid dictionary"),
        ("modl=1", r"unknown key modl; did you mean model\?"),
        ("model.chanels=1", r"unknown key model.chanels; did you mean model.channels\?"),
        ("model.environment.plane_orign=1", "did you mean model.environment.plane_origin"),
        ("data.energykey=1", "did you mean data.energy_key"),
        ("data=a.xyz", "data is 'a.xyz'; expected keys and values"),
        ("start.modle=a.sikff", r"unknown key start\.modle; did you mean start\.model\?"),
        ("lr=-1", "lr: input should be greater than 0, got -1"),
        ("data.valid=-1", "data.valid: got -1; expected files, a number of structures, a"),
        ("data.valid=1.5", "data.valid: got 1.5; expected files"),
        ("model.group=Q(2)", r"model: unknown symmetry group 'Q\(2\)'"),
        ("model.cutoff=-1", "model: cutoff: input should be greater than 0, got -1"),
        ("max_epochs=null", "no end of the run; give max_epochs, max_steps or max_minutes"),
        ("loss={energy: 0, forces: 0}", "loss: all weights are 0"),
        ("lr", "override 'lr' is not understood; expected key.sub=value"),
        ("lr={", "'{' is not YAML"),
    ],
)
def test_mistakes_are_named(path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_config(path, [override])
    assert "\n" not in str(caught.value)


def test_an_override_below_null_begins_the_section(path: Path) -> None:
    path.write_text(path.read_text() + "\nstart: null\n")
    config = read_config(path, ['start.model="a.sikff"'])
    assert config.start is not None
    assert str(config.start.model) == "a.sikff"


def test_an_override_below_a_value_is_an_error(path: Path) -> None:
    with pytest.raises(ValueError, match="max_epochs is a value and has no keys"):
        read_config(path, ["max_epochs.x=1"])


@pytest.mark.parametrize("text", ["- 1\n", "a: {", ""])
def test_a_file_without_keys_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.yaml"):
        read_config(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no configuration file .*absent\.yaml"):
        read_config(tmp_path / "absent.yaml")


def test_survives_a_round_trip(config: TrainConfig) -> None:
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


def test_keys_of_older_configurations_are_read_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(
        "data: {train: a.xyz}\nmax_epochs: 1\nmodel: {group: C_inf_v, frame: {field: true}}\n"
    )
    with pytest.warns(UserWarning, match=r"model\.frame is now called model\.environment"):
        config = read_config(path)
    assert config.model["environment"] == {"field": True}
    with pytest.raises(ValueError, match=r"got both"):
        read_config(path, ["model.environment.field=false"])
    path.write_text(
        path.read_text().replace(
            "frame: {field: true}", "environment: {field: true, field_limit: 0.5}"
        )
    )
    with pytest.warns(
        UserWarning, match=r"field_limit is now called model\.environment\.field_max"
    ):
        config = read_config(path)
    assert config.model["environment"] == {"field": True, "field_max": 0.5}
    with pytest.raises(ValueError, match=r"got both"):
        read_config(path, ["model.environment.field_max=0.4"])
