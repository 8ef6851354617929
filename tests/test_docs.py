"""README, CONTRIBUTING and the pages of docs/: what they show runs, what they name exists."""

import importlib.util
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import ase.io
import pytest
import torch
import yaml
from ase.build import molecule

from force_fields import force_field
from sikff.training.cli.main import parse_command
from sikff.training.config import TrainConfig, read_config
from sikff.training.fitting import fit as fitting
from sikff.training.learn.config import read_learn_config
from sikff.training.simulation import md
from test_layers import FLOORS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
ALL = [*PAGES, ROOT / "examples/data/README.md"]
NOT_RUN = re.compile(r"<!-- not run: .+ -->")
NEEDS = re.compile(r"<!-- needs (\w+) -->")  # a package without which a block does not run
SMALL = {"channels": 4, "max_frequency": 1, "kernel_fields": 2, "kernel_width": 8, "layers": 1}
PLANE = {"plane_origin": [0.0, 0.0, 0.0], "plane_range": 12.0, "surfaces": ["graphene"]}
MODELS: dict[str, dict[str, Any]] = {
    "run": {},
    "run0": {"seed": 0},
    "run1": {"seed": 1},
    "run2": {"seed": 2},
    "field": {"group": "C_inf_v", "vacuum_group": "O(3)", "environment": {"field": True}},
    "graphene": {"group": "C_inf_v", "vacuum_group": "O(3)", "environment": PLANE},
    "ions": {"environment": {"charge": True, "spin": True}},
}


UNITS = {"cutoff": "Å", "atomic_energies": "eV", "timestep": "fs", "pressure": "GPa"}


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str
    line: int  # of its first line of code, counted from 1
    runs: bool


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page; those after ``<!-- not run: reason -->`` do not run, nor those
    after ``<!-- needs package -->`` where it is missing."""
    found, lines = [], page.read_text(encoding="utf-8").splitlines()
    start = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        above = lines[start - 1] if start else ""
        needed = NEEDS.fullmatch(above)
        runs = not NOT_RUN.fullmatch(above) and (not needed or importable(needed[1]))
        code = "\n".join(lines[start + 1 : number])
        found.append(Block(lines[start][3:].strip(), code, start + 2, runs))
        start = None
    assert start is None, f"{page}: a block is not closed"
    return found


def importable(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def commands(page: Path) -> Iterator[list[str]]:
    """The commands in the shell blocks of a page, as lists of arguments."""
    for block in blocks(page):
        if block.language == "sh":
            for line in block.code.replace("\\\n", " ").splitlines():
                for part in re.split(r";\s", re.sub(r"\s[#>].*|\s&$", "", line)):
                    words = shlex.split(re.sub(r"\$\w+", "0", part.strip().removeprefix("do ")))
                    if words:
                        yield words


def prose(page: Path) -> str:
    """A page without its fenced blocks, on one line."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    return " ".join(text.split())


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def with_block(language: str) -> list[Path]:
    found = [page for page in PAGES if any(b.language == language for b in blocks(page))]
    assert found, f"no page has a block of {language}"
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that pages name."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "examples").symlink_to(ROOT / "examples")
    frames = ase.io.read(ROOT / "examples/data/methanol_field.xyz", ":200")
    free = [a for a in frames if len(a) > 1 and not a.info["electric_field"].any()][:16]
    ase.io.write(folder / "train.xyz", free[:12])
    for file in ("test.xyz", "valid.xyz", "new.xyz", "hartree.xyz"):
        ase.io.write(folder / file, free[12:])
    ase.io.write(folder / "start.xyz", molecule("CH3OH"))
    water = molecule("H2O")
    water.translate([0.0, 0.0, 3.0])
    ase.io.write(folder / "water.xyz", water)
    for name, options in MODELS.items():
        (folder / name).mkdir()
        force_field(**options).save(folder / name / "model.sikff")
    force_field().save(folder / "vacuum.sikff")
    return folder


@pytest.fixture
def workspace(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of these files to work in; runs have one epoch of a small network, or two steps."""
    shutil.copytree(files, tmp_path, symlinks=True, dirs_exist_ok=True)

    def fit(config: TrainConfig, fit: Callable[..., Path] = fitting.fit, **options: Any) -> Path:
        shutil.rmtree(config.output, ignore_errors=True)
        settings = config.model_dump() | {"max_epochs": 1, "max_minutes": None}
        settings["model"] = SMALL | settings["model"]
        return fit(TrainConfig.model_validate(settings), **options)

    def run_md(
        atoms: ase.Atoms,
        settings: md.MDSettings,
        *files: Any,
        run: Callable[..., dict[str, float]] = md.run_md,
        **named: Any,
    ) -> dict[str, float]:
        return run(atoms, settings.model_copy(update={"steps": 2, "every": 1}), *files, **named)

    monkeypatch.setattr(fitting, "fit", fit)
    monkeypatch.setattr(md, "run_md", run_md)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", with_block("python"), ids=name)
def test_python_of_a_page_runs(page: Path, workspace: Path) -> None:
    """Its blocks run in their order and share their names."""
    names: dict[str, Any] = {"__name__": "a_page"}
    with torch.random.fork_rng():
        for block in blocks(page):
            if block.language == "python" and block.runs:
                source = "\n" * (block.line - 1) + block.code  # so that errors name the line
                exec(compile(source, str(page), "exec"), names)


@pytest.mark.parametrize("page", with_block("yaml"), ids=name)
def test_configurations_are_valid(page: Path, workspace: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            Path("config.yaml").write_text(block.code, encoding="utf-8")
            if "structures" in yaml.safe_load(block.code):
                assert read_learn_config("config.yaml").structures, f"{page}:{block.line}"
                continue
            config = read_config("config.yaml")
            assert config.data.train, f"{page}:{block.line}"
            for file in (config.data.train, config.data.valid):
                assert not isinstance(file, Path) or file.is_file(), f"no {file} among the files"


@pytest.mark.parametrize("page", with_block("sh"), ids=name)
def test_commands_are_understood(page: Path, workspace: Path) -> None:
    """They parse, and what they change in a configuration is valid."""
    Path("config.yaml").write_text("data: {train: train.xyz}\nmax_epochs: 1\n", encoding="utf-8")
    for words in commands(page):
        if words[0] == "sikff":
            run, _ = parse_command(words[1:])
            if words[1] == "train":
                read_config("config.yaml", run.args[0].all_overrides())
        elif words[0] == "make":
            targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
            assert set(words[1:]) <= set(targets), f"{page}: {' '.join(words)}"


def test_a_wrong_command_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("md model.sikff start.xyz --temprature 300", "evaluate", "trian config.yaml"):
        with pytest.raises(SystemExit):
            parse_command(words.split())
    assert capsys.readouterr().err.count("sikff: ") == 3


def load_hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = load_hooks()


@pytest.mark.parametrize("page", ALL, ids=name)
def test_options_in_the_text_exist(page: Path) -> None:
    """Those of `sikff ...` and of `python script.py ...`, the scripts too."""
    inline = [words.split() for words in re.findall(r"`([^`]+)`", prose(page))]
    for words in [*inline, *commands(page)]:
        options = {re.split("=", w)[0] for w in words if re.match(r"--[a-z]", w)} - {"--help"}
        if words[0] == "sikff":
            command = [w for w in words[1:3] if re.fullmatch("[a-z0-9]+", w)]
            known = hooks.help_of(tuple(command)) or hooks.help_of(tuple(command[:1]))
        elif words[0] == "python" and len(words) > 1 and words[1].endswith(".py"):
            places = (ROOT / words[1], ROOT / "examples/data" / words[1])
            script = next((place for place in places if place.is_file()), None)
            assert script, f"{name(page)} names {words[1]}, which does not exist"
            known = script.read_text(encoding="utf-8")
        else:
            continue
        missing = [option for option in sorted(options) if option not in known]
        assert not missing, f"{name(page)}: {' '.join(words)} has no {', '.join(missing)}"


def anchors(page: Path) -> set[str]:
    """The headings of a page as their links name them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    plain = [
        re.sub(r"[^\w\s-]", "", h).strip().lower() for h in re.findall(r"^#+ (.*)", text, re.M)
    ]
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", ALL, ids=name)
def test_links_and_pictures_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = page if not path else (page.parent / path).resolve()
        assert found.exists(), f"{name(page)}: no {target}"
        if DOCS in page.parents:
            assert DOCS in found.parents, f"{name(page)}: {target} is not a page of docs/"
        assert not anchor or anchor in anchors(found), f"{name(page)}: no heading {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_in_the_text_exist(page: Path) -> None:
    """Sources and tests, as `folder/file.py` or `tests/file.py::test_name`."""
    folders = "sikff|training|calculators|tests|examples|docs"
    pattern = rf"`((?:{folders})/[\w./]*?\w/?)(?:::(\w+))?`"
    for path, test in re.findall(pattern, prose(page)):
        assert (ROOT / path).exists(), f"{name(page)} names {path}, which does not exist"
        if test:
            source = (ROOT / path).read_text(encoding="utf-8")
            assert re.search(rf"^def {test}\(", source, re.M), f"{name(page)}: no {path}::{test}"


def test_every_known_problem_has_its_row() -> None:
    """Numbered without gaps, and all but what is not offered yet with a test."""
    text = (DOCS / "background/known-problems.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) > 20
    untested = [row[2].strip() for row in rows if "`tests/" not in row[3]]
    assert set(untested) <= {"not offered yet"}


def test_navigation_lists_every_page_and_picture_once() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = [
        page
        for entry in settings["nav"]
        for page in ([entry] if isinstance(entry, str) else next(iter(entry.values())))
    ]
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    shown = {m for page in ALL for m in re.findall(r"pictures/(\w+\.png)", page.read_text("utf-8"))}
    assert shown == {path.name for path in (DOCS / "pictures").iterdir()}


def test_keys_of_every_section_are_described() -> None:
    """The tables on the page of configuration keys, which mkdocs makes from the models."""
    page = hooks.on_page_markdown((DOCS / "reference/config.md").read_text(encoding="utf-8"))
    assert not hooks.KEYS.search(page)
    for key, default in (("ema", "`0.99`"), ("cutoff", "`5.0`"), ("timestep", "`0.5`")):
        assert re.search(rf"^\| `{key}` \| .* \| {re.escape(default)} \| .+ \|$", page, re.M)
    rows = re.findall(r"^\| `\w+` \|.*$", page, re.M)
    assert len(rows) > 60
    assert [row for row in rows if not re.search(r"\| [^|]+[.)] \|$", row)] == []
    for key, unit in UNITS.items():
        assert re.search(rf"^\| `{key}` .*\b{unit}\b", page, re.M), f"{key} has no unit"


def test_a_key_without_description_is_noticed() -> None:
    class Silent(TrainConfig):
        """Attributes:
        data: where structures come from.
        """

        unheard: int = 0

    with pytest.raises(ValueError, match=r"Silent does not describe .*unheard"):
        hooks.table(Silent)


def test_help_of_every_command_is_shown() -> None:
    page = hooks.on_page_markdown(hooks.HELP)
    shown = re.findall(r"^## sikff ?(.*)$", page, re.M)
    assert {"train", "md", "relax", "symmetry", "nbody table", "qm9 table"} <= set(shown)
    assert page.count("usage: sikff") == len(shown)
    assert "  --temperature " in page


def test_packages_stand_on_their_floors() -> None:
    """The table of CONTRIBUTING has every package, on the floor that the layer test gives it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = {}
    for floor, paths in re.findall(r"^\| (\d+) \| (`.*?) \|", text, re.M):
        for path in re.findall(r"`([\w/]+?)(?:\.py|/)`", paths):
            module = path.replace("/", ".")
            shown[module if module.startswith("sikff.") else f"sikff.{module}"] = int(floor)
    plain = {"sikff", "sikff.training", "sikff.training.console", "sikff.training.__main__"}
    assert shown == {room: floor for room, floor in FLOORS.items() if room not in plain}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_front_pages_stay_short(page: str) -> None:
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 400 and sorted(map(len, lines))[-8] <= 150
