"""Pages that mkdocs makes from the code: tables of configuration keys, and the words of --help.

A page says ``<!-- keys of package.module.Model -->`` where the table of a pydantic model goes, and
``<!-- help of every command -->`` where those of the command line go.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import re
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin
from unittest import mock

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")  # of Sphinx
KEYS = re.compile(r"<!-- keys of ([\w.]+)\.(\w+) -->")
HELP = "<!-- help of every command -->"
COMPARED = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs with the text of every page."""
    markdown = KEYS.sub(lambda found: table(model(found[1], found[2])), markdown)
    if HELP in markdown:
        markdown = markdown.replace(HELP, "\n\n".join(map(section, commands())))
    return markdown


def model(module: str, name: str) -> type[BaseModel]:
    """The model of that name."""
    return getattr(importlib.import_module(module), name)


def table(settings: type[BaseModel]) -> str:
    """The keys of a model as a table in Markdown: type, default, meaning with its unit."""
    meaning = meanings(settings)
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in settings.model_fields.items():
        cells = (f"`{name}`", kind(field), default(field), meaning[name])
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows)


def meanings(settings: type[BaseModel]) -> dict[str, str]:
    """What each field means: its description, or what the docstring's list of attributes says.

    An entry of that list names one field or several: ``lr, weight_decay: of the optimiser.`` A
    field that the entry of another one explains refers to that.

    Raises:
        ValueError: if a field is described nowhere.
    """
    found: dict[str, str] = {}
    text = inspect.getdoc(settings) or ""
    text = " ".join(text.partition("Attributes:")[2].split())
    names = "|".join(settings.model_fields)
    entries = re.split(rf"(?:^|(?<=[.;)] ))((?:{names})(?:, (?:{names}))*): ", text)
    for keys, words in zip(entries[1::2], entries[2::2], strict=True):
        for name in keys.split(", "):
            found.setdefault(name, words)
    found |= {name: f.description for name, f in settings.model_fields.items() if f.description}
    found = {name: as_sentence(words) for name, words in found.items()}
    for name in settings.model_fields.keys() - found.keys():
        for key in [key for key, words in found.items() if f"`{name}`" in words][:1]:
            found[name] = f"See `{key}`."
    missing = sorted(settings.model_fields.keys() - found.keys())
    if missing:
        raise ValueError(f"{settings.__name__} does not describe {', '.join(missing)}")
    return found


def as_sentence(words: str) -> str:
    """The words on one line, with a full stop, and a capital if they begin with a plain word."""
    words = " ".join(words.split()).rstrip(";.") + "."
    words = ROLE.sub(r"`\1`", words).replace("``", "`")
    return words[0].upper() + words[1:] if re.match("[a-z]+[ ,;(.]", words) else words


def kind(field: FieldInfo) -> str:
    """The type of a field, in short, with its limits."""
    limits = [
        f"{sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in COMPARED.items()
        if getattr(limit, name, None) is not None
    ]
    return ", ".join([shown(field.annotation), *limits])


def shown(annotation: Any) -> str:
    """A type, in the words of YAML."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):  # Annotated
        return shown(inside[0])
    if origin is Literal:
        return ", ".join(map(str, inside))
    if origin is dict:
        return f"map to {shown(inside[1])}"
    if origin is tuple:
        return f"list of {shown(inside[0])}" + ("" if inside[-1] is ... else f" ({len(inside)})")
    if origin is Union or type(annotation).__name__ == "UnionType":
        return " or ".join(shown(each) for each in inside if each is not type(None))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"section, see {annotation.__name__}"
    return getattr(annotation, "__name__", str(annotation)).replace("Path", "path")


def default(field: FieldInfo) -> str:
    """The default of a field; empty for one that has to be given."""
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "its defaults"
    return (
        f"`{value if isinstance(value, str) else str(value).replace('(', '[').replace(')', ']')}`"
    )


def commands(before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """A command and those that begin with its words, in the order of its --help."""
    text = help_of(before)
    yield before
    for name in re.findall(r"^  ([a-z0-9]+) +\S", text.partition("\ncommands:\n")[2], re.MULTILINE):
        yield from commands((*before, name))


def section(command: tuple[str, ...]) -> str:
    """The help of a command as a section of a page."""
    name = " ".join(("sikff", *command))
    return f"## {name}\n\n```text\n{help_of(command).strip()}\n```"


def help_of(command: tuple[str, ...]) -> str:
    """What ``sikff COMMAND --help`` prints."""
    from sikff.training.cli import main

    with (
        mock.patch.dict(os.environ, COLUMNS="100"),
        contextlib.redirect_stdout(io.StringIO()) as written,
        contextlib.suppress(SystemExit),
    ):
        main([*command, "--help"])
    return written.getvalue()
