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

from ..read_settings import sentence

METAVARS = {int: "N", float: "X", Path: "FILE", str: "NAME"}
Settings = TypeVar("Settings", bound=BaseModel)


class Metavar(str):
    """Placeholder of a value in --help; for a tuple of fixed length, one word for each value."""


class Positional(Metavar):
    """Placeholder of a field that is a positional argument."""


class StandsAlone(Metavar):
    """Placeholder of an option that may go without a value, and then has this one."""


def choices(names: Iterable[str]) -> Metavar:
    """Placeholder that lists names; they are not checked here, unlike those of a Literal."""
    return Metavar(f"{{{','.join(names)}}}")


class CommandSettings(BaseModel):
    """Arguments of a command; the docstrings of the fields are their help texts."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True
    )


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors take one line, and whose help keeps the lines given."""

    def __init__(self, program: str, description: str, epilog: str = "") -> None:
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(program, description=description, epilog=epilog, formatter_class=form)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"sikff: {' '.join(message.split())}; see {self.prog} --help\n")

    def parse_settings(
        self, model: type[Settings], arguments: Sequence[str]
    ) -> tuple[Settings, bool]:
        """The settings given by arguments, and whether --traceback is among them.

        A boolean field is a flag: ``--name``, or ``--no-name`` where the default is True; a tuple
        takes several values; anything else one. Positional arguments may stand between options.

        Raises:
            SystemExit: with code 2 for arguments that are not understood, with 0 after --help.
        """
        names = {field.alias or name: field for name, field in model.model_fields.items()}
        for name, field in names.items():
            _add_argument(self, name, field)
        words = "show the traceback of an error, for bug reports"
        self.add_argument("--traceback", action="store_true", help=words)
        if arguments.count("--") > 1:  # argparse takes a second one for an empty list
            self.error("-- may come once only")
        found = self.parse_intermixed_args(arguments)
        try:
            given = {name: vars(found).pop(name) for name in names if name in found}
            return model.model_validate(given), found.traceback
        except ValidationError as error:
            self.error(sentence(error))


def _add_argument(parser: Parser, name: str, field: FieldInfo) -> None:
    flag, default = f"--{name.replace('_', '-')}", field.get_default()
    settings: dict[str, Any] = {"help": _help_text(field), "default": argparse.SUPPRESS}
    item, length = _item_type(field.annotation)
    if item is bool:
        flag = flag.replace("--", "--no-", 1) if default else flag
        action = "store_false" if default else "store_true"
        parser.add_argument(flag, dest=name, action=action, **settings)
        return
    metavar = next((each for each in field.metadata if isinstance(each, Metavar)), None)
    words = (metavar or "X Y Z").split()
    required, positional = field.is_required(), isinstance(metavar, Positional)
    if length is None:
        settings["nargs"] = "*" if positional and not required else "+"
    if positional and not required and length == 1:
        settings["nargs"] = "?"
    if isinstance(metavar, StandsAlone):
        settings |= {"nargs": "?", "const": str(metavar)}
    if length == len(words) > 1:
        settings |= {"nargs": length, "metavar": tuple(words)}
    elif get_origin(item) is Literal:
        settings["choices"] = get_args(item)
    else:
        settings["metavar"] = metavar or METAVARS[item]
    if positional:
        parser.add_argument(name, **settings)
    else:
        parser.add_argument(flag, dest=name, required=required, **settings)


def _item_type(annotation: Any) -> tuple[Any, int | None]:
    """The type of a value and the number of values: None for any number above 0."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Annotated, Union, UnionType):  # X | None
        return _item_type(next(each for each in arguments if each is not NoneType))
    if origin is tuple:
        return _item_type(arguments[0])[0], None if Ellipsis in arguments else len(arguments)
    return annotation, 1


def _help_text(field: FieldInfo) -> str:
    """The description of a field, with its default where that is a value."""
    default = field.get_default()
    text = " ".join((field.description or "").replace("%", "%%").split())
    if field.is_required() or default in (None, ()) or isinstance(default, bool):
        return text
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{text} (default: {shown})"
