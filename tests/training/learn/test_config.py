"""Configurations of learning runs: examples, defaults, and a sentence for what is wrong."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sikff.training.cli import main
from sikff.training.learn.config import LearnConfig, read_learn_config
from sikff.training.learn.examples import EXAMPLES


@pytest.mark.parametrize("kind", EXAMPLES)
def test_examples_are_valid(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learn", "--example", kind]) == 0
    path = tmp_path / "learn.yaml"
    path.write_text(capsys.readouterr().out)
    if kind == "molecule":
        assert main(["learn", "--example"]) == 0
        assert capsys.readouterr().out == path.read_text()
    config = read_learn_config(path)
    assert (config.surface is not None) == (kind == "surface")
    assert (config.ensemble == "npt") == (kind == "crystal")
    assert config.calculator is not None
    assert (config.calculator.folder is not None) == (kind == "queue")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"structure": "a.xyz"}, "unknown key structure; did you mean structures"),
        ({"calculator": {"nme": "x"}}, r"unknown key calculator\.nme; did you mean calculator\.n"),
        ({"calculator": {}}, "expected either name"),
        ({"calculator": {"name": "a.B", "folder": "jobs"}}, "expected either name"),
        ({"model": {"chanels": 8}}, r"unknown key model\.chanels; did you mean model\.channels"),
        ({"final": {"channels": 0}}, "final: channels: input should be greater"),
        ({"structures": []}, "structures: got"),
        ({"pressure": 1.0}, "but nvt keeps cells"),
        ({"surface": {"slab": "slab.xyz"}, "ensemble": "npt"}, "no pressure moves a surface"),
        ({"max_labels": 5}, "max_labels: input should be greater than or equal to 20, got 5"),
        ({"temperatures": []}, "temperatures: "),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "learn.yaml"
    path.write_text(yaml.safe_dump({"structures": "start.xyz"} | change))
    with pytest.raises(ValueError, match=message):
        read_learn_config(path)


def test_one_file_is_a_list_of_one_and_options_change_keys(tmp_path: Path) -> None:
    path = tmp_path / "learn.yaml"
    path.write_text("structures: start.xyz\n")
    config = read_learn_config(path, ["target=10", "calculator.name=a.B", "temperatures=[100,400]"])
    assert config.structures == (Path("start.xyz"),)
    assert (config.target, config.hottest) == (10.0, 600.0)
    assert LearnConfig.model_validate(config.model_dump(mode="json")) == config


def test_sections_may_be_null_and_older_names_are_read(tmp_path: Path) -> None:
    path = tmp_path / "learn.yaml"
    path.write_text("structures: start.xyz\nsurface: null\nmodel: {frame: {charge: true}}\n")
    with pytest.warns(UserWarning, match=r"model\.frame is now called model\.environment"):
        config = read_learn_config(path)
    assert config.surface is None and config.model == {"environment": {"charge": True}}


def test_the_command_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["learn"]) == 2
    assert "--example molecule prints one" in capsys.readouterr().err
    Path("learn.yaml").write_text("structures: none.xyz\ncalculator: {name: a.B}\n")
    assert main(["learn", "learn.yaml"]) == 2
    assert "none.xyz" in capsys.readouterr().err
    assert not Path("learned").exists()
