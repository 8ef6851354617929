"""Command-line arguments from pydantic models: a field becomes an argument or an option.

pydantic-settings and jsonargparse have no options with several values (``--committee a b``) and no
overrides between options; cyclopts has them, but no abbreviated options, makes every option a
positional argument too and brings seven packages. So argparse parses, and pydantic converts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from ..config import sentence

METAVARS = {int: "N", float: "X", Path: "FILE", str: "NAME"}
VECTOR = "X Y Z"

Settings = TypeVar("Settings", bound=BaseModel)


class Metavar(str):
    """Placeholder of a value in --help; for a tuple of fixed length, one word for each value."""


def choices(names: Iterable[str]) -> Metavar:
    """Placeholder that lists names; they are not checked here, unlike those of a Literal."""
    return Metavar(f"{{{','.join(names)}}}")


class Positional(Metavar):
    """Placeholder of a field that is a positional argument."""


class CommandSettings(BaseModel):
    """Arguments of a command; the docstrings of the fields are their help texts."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True
    )


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line."""

    def __init__(self, program: str, description: str, epilog: str = "") -> None:
        raw = argparse.RawDescriptionHelpFormatter  # keeps the lines of description and epilog
        super().__init__(program, description=description, epilog=epilog, formatter_class=raw)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"sikff: {' '.join(message.split())}; see {self.prog} --help\n")


def add_arguments(parser: Parser, model: type[BaseModel]) -> None:
    """Adds an argument for each field of a pydantic model.

    A boolean becomes a flag: ``--name``, or ``--no-name`` where the default is True; a tuple takes
    several values; anything else one. Fields are options, but for those with :class:`Positional`.
    An alias replaces the name of the field.
    """
    for name, field in model.model_fields.items():
        _add_argument(parser, field.alias or name, field)


def parse_settings(
    parser: Parser, model: type[Settings], arguments: Sequence[str]
) -> tuple[Settings, argparse.Namespace]:
    """The settings given by command-line arguments, and what the parser has beyond them.

    Positional arguments may stand between options.

    Raises:
        SystemExit: with code 2 for arguments that are not understood, with 0 after --help.
    """
    if arguments.count("--") > 1:  # argparse takes a second one for an empty list
        parser.error("-- may come once only")
    found = parser.parse_intermixed_args(arguments)
    names = [field.alias or name for name, field in model.model_fields.items()]
    given = {name: vars(found).pop(name) for name in names if name in found}
    try:
        return model.model_validate(given), found
    except ValidationError as error:
        parser.error(sentence(error))


def _add_argument(parser: Parser, name: str, field: FieldInfo) -> None:
    flag, default = f"--{name.replace('_', '-')}", field.get_default()
    settings: dict[str, Any] = {"help": _help_text(field), "default": argparse.SUPPRESS}
    item, length = _item_type(field.annotation)
    if item is bool:
        if default:
            flag = flag.replace("--", "--no-", 1)
        action = "store_false" if default else "store_true"
        parser.add_argument(flag, dest=name, action=action, **settings)
        return
    metavar = next((each for each in field.metadata if isinstance(each, Metavar)), None)
    if length is None:
        may_be_none = isinstance(metavar, Positional) and not field.is_required()
        settings["nargs"] = "*" if may_be_none else "+"
    elif length > 1 and len(words := (metavar or VECTOR).split()) > 1:
        settings |= {"nargs": length, "metavar": tuple(words)}
    if get_origin(item) is Literal:
        settings["choices"] = get_args(item)
    else:
        settings.setdefault("metavar", metavar or METAVARS[item])
    if isinstance(metavar, Positional):
        parser.add_argument(name, **settings)
    else:
        parser.add_argument(flag, dest=name, required=field.is_required(), **settings)


def _item_type(annotation: Any) -> tuple[Any, int | None]:
    """The type of a value and the number of values: None for any number above 0."""
    if get_origin(annotation) is Annotated:
        return _item_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):  # X | None
        return _item_type(next(each for each in get_args(annotation) if each is not NoneType))
    if get_origin(annotation) is tuple:
        items = get_args(annotation)
        return _item_type(items[0])[0], None if Ellipsis in items else len(items)
    return annotation, 1


def _help_text(field: FieldInfo) -> str:
    """The description of a field with its default, if that says more than the description."""
    default = field.get_default()
    text = " ".join((field.description or "").replace("%", "%%").split())
    if field.is_required() or default in (None, ()) or isinstance(default, bool):
        return text
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{text} (default: {shown})".strip()
