"""Reads extended and plain XYZ files frame by frame; ASE parses each frame.

ASE alone stops at the first empty line, knows ``Lattice`` in this spelling only, takes every word
of a comment for a key, ignores words beyond the columns, and does not say where a file is wrong.
"""

from __future__ import annotations

import codecs
import io
import re
import warnings
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice, product
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import ase
import numpy as np
from ase.data import atomic_masses, atomic_numbers
from ase.io.extxyz import key_val_str_to_dict, read_xyz
from ase.io.formats import open_with_compression

ISOTOPES = {"D": 2.01410178, "T": 3.01604928}  # masses (u) of what is otherwise hydrogen
KEYS = {"lattice": "Lattice", "properties": "Properties", "pbc": "pbc"}  # in any case
CELLS = ("cell", "unit_cell", "lattice_vectors", "box")  # other names of what is called Lattice
PLAIN = "species:S:1:pos:R:3"
NAMES = {"species": "symbols", "pos": "positions", "Z": "numbers"}  # of columns, in ASE
FLAGS = [[*flags] for n in (1, 3) for flags in product((False, True), repeat=n)]  # pbc
LOGICAL = {"T", "F", "True", "False"}
CONVERTERS = {"R": float, "I": int, "S": str, "L": str}
_QUOTED = r"""\\.|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\{[^}]*\}|\[[^\]]*\]"""
# A key without a value, for which ASE would take the next key; what is quoted is skipped.
_EMPTY = re.compile(rf"""({_QUOTED})|(?<!\S)([^\s="'{{\[]+)=(?:""|'')?(?=\s+[^\s=]+=|\s*$)""")
_COUNT = re.compile(r"\s*(\d{1,18})\s*", re.ASCII)


class Frame(NamedTuple):
    """The lines of a frame; `line` is the number of its first one, counted from 1."""

    number: int
    line: int
    comment: str
    atoms: list[str]
    vectors: list[str]  # VEC1 to VEC3, which some programs write after the atoms

    def where(self, index: int) -> str:
        """The place of an atom in the file, in words."""
        return f"line {self.line + 2 + index}, structure {self.number}"


class Columns(NamedTuple):
    """What the words of a line stand for."""

    text: str  # Properties, with the usual names of species and positions
    names: list[str]
    kinds: str  # R, I, S or L for each word


def iterate_extended_xyz(path: Path, last: bool = False) -> Iterator[ase.Atoms]:
    """Reads the structures of a file one by one, or only the last one.

    Empty lines between frames are skipped. Keys of the cell and the columns may have any case. D
    and T are hydrogen with the mass of these isotopes.

    Raises:
        ValueError: naming the line, for anything that is not a whole frame.
    """
    file: Any  # of whichever compression
    with open_with_compression(str(path), "rb") as file:
        marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding = "utf-16" if file.peek(2)[:2] in marks else "utf-8-sig"
        with io.TextIOWrapper(file, encoding, errors="replace") as lines:
            frames = _frames(lines)
            chosen = deque(frames, maxlen=1) if last else frames
            for frame in chosen:
                yield _parse(frame, path)


def _frames(lines: TextIO) -> Iterator[Frame]:
    """The frames of a file.

    Raises:
        ValueError: if a count is no number, or more than the lines that follow.
    """
    number, line, header = 0, 1, next(lines, None)
    while header is not None:
        if not header.strip():
            line, header = line + 1, next(lines, None)
            continue
        count = _COUNT.fullmatch(header)
        if count is None:
            before = f"; or structure {number - 1} has more lines than atoms" if number else ""
            raise ValueError(
                f"line {line} is {_short(header.strip())}; expected the number of atoms of "
                f"structure {number}{before}"
            )
        body = list(islice(lines, int(count[1]) + 1))
        if len(body) <= int(count[1]):
            raise ValueError(
                f"structure {number} (line {line}) announces {count[1]} atoms; the file ends after "
                f"{max(len(body) - 1, 0)}"
            )
        vectors = []
        while (header := next(lines, None)) is not None and header.lstrip().startswith("VEC"):
            vectors.append(header)
        yield Frame(number, line, body[0].strip(), body[1:], vectors)
        number, line = number + 1, line + 1 + len(body) + len(vectors)


def _parse(frame: Frame, path: Path) -> ase.Atoms:
    """The structure of a frame.

    Raises:
        ValueError: naming the line that is wrong.
    """
    try:
        info = _parse_comment(frame.comment, bool(frame.vectors))
        if frame.vectors:
            info |= _cell(frame.vectors)
        plain = "Properties" not in info
        columns = _columns(str(info.get("Properties", PLAIN)))
    except Exception as error:  # ASE's parser of comments raises anything
        raise ValueError(f"line {frame.line + 1}, structure {frame.number}: {error}") from error
    if not frame.atoms:
        return ase.Atoms()
    body = "".join(frame.atoms)
    if _count_words(body) != len(columns.kinds) * len(frame.atoms):
        _check_widths(frame, len(columns.kinds), plain, path)
    if not body.endswith("\n"):
        _check_end(frame, body.split())
    if "L" in columns.kinds:
        _check_logical(frame, columns)
    info["Properties"] = columns.text
    try:
        return _parse_lines(body, info, frame)
    except Exception as error:  # ASE raises anything, and does not say where
        _check_words(frame, columns)
        hydrogen, masses = _replace_isotopes(frame, columns)
        if masses is None:
            where = f"line {frame.line}, structure {frame.number}"
            raise ValueError(f"{where}: {type(error).__name__}: {error}") from error
    atoms = _parse_lines(hydrogen, info, frame)
    if not atoms.has("masses"):
        atoms.set_masses(masses)
    return atoms


def _parse_lines(body: str, info: dict[str, Any], frame: Frame) -> ase.Atoms:
    """The structure of the lines of its atoms, with the keys and values of its comment."""
    text = io.StringIO(f"{len(frame.atoms)}\ncomment\n{body}")
    return next(read_xyz(text, 0, lambda _: {**info}))


def _cell(vectors: list[str]) -> dict[str, Any]:
    """Lattice and pbc of lines such as "VEC1 9.0 0.0 0.0".

    Raises:
        ValueError: for other names or numbers.
    """
    cell = np.zeros((3, 3))
    for index, line in enumerate(vectors):
        name, *numbers = line.split()
        if index > 2 or name != f"VEC{index + 1}" or len(numbers) != 3:
            raise ValueError(f"{_short(line.strip())}; expected VEC1, VEC2, VEC3 and three numbers")
        cell[index] = [float(number) for number in numbers]
    return {"Lattice": cell.T, "pbc": [index < len(vectors) for index in range(3)]}


def _parse_comment(comment: str, has_vectors: bool) -> dict[str, Any]:
    """Keys and values, those of the cell and the columns checked; of plain words a `comment`.

    Raises:
        ValueError: for a key in two spellings, a cell or pbc that is none, or a cell under another
            name.
    """
    if "=" not in comment:  # else words such as pbc would be keys that are true
        return {"comment": comment} if comment else {}
    _check_quotes(comment)
    info: dict[str, Any] = key_val_str_to_dict(_EMPTY.sub(r"\1", comment))
    for key in [*info]:
        usual = KEYS.get(key.lower(), key)
        if usual != key:
            if usual in info:
                raise ValueError(f"both {usual} and {key}; expected one of them")
            info[usual] = info.pop(key)
    if "Lattice" in info:
        lattice = np.asarray(info["Lattice"])
        if lattice.size != 9 or lattice.dtype.kind not in "if" or has_vectors:
            also = " and VEC lines" if has_vectors else ""
            raise ValueError(f"Lattice is {_short(lattice)}{also}; expected nine numbers")
        info["Lattice"] = lattice if lattice.ndim == 2 else lattice.reshape(3, 3, order="F")
    elif not has_vectors:
        cells = [key for key in info if key.lower() in CELLS and _is_cell(info[key])]
        if cells:
            raise ValueError(f"{cells[0]} and no Lattice; extended XYZ calls the cell Lattice")
    pbc = info.get("pbc")
    if pbc is not None and [*np.ravel(pbc)] not in FLAGS:
        raise ValueError(f"pbc is {_short(pbc)}; expected three of T and F")
    return info


def _check_quotes(comment: str) -> None:
    """Raises ValueError for a quote that is not closed, which would hide keys after it, and for a
    key that occurs twice; titles with apostrophes are none."""
    bare = re.sub(_QUOTED, '""', comment)
    keys = re.findall(r"""(?<!\S)([^\s="'{\[]+)\s*=""", bare)
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice and "properties" in map(str.lower, keys):
        raise ValueError(f"{', '.join(twice)} occurs twice")
    quote = re.search(r"""["'{\[]""", bare.replace('""', ""))
    if quote and "properties=" in comment.lower():
        raise ValueError(f"{quote[0]} is not closed, so what follows is hidden; use double quotes")


def _is_cell(value: object) -> bool:
    array = np.asarray(value)
    return array.dtype.kind in "if" and array.size in (3, 6, 9)


@lru_cache
def _columns(properties: str) -> Columns:
    """Reads Properties: name, kind and number of words of each column.

    Raises:
        ValueError: if it is something else, two columns have one name, or there are no positions or
            no elements.
    """
    fields = properties.split(":")
    kinds, counts = fields[1::3], fields[2::3]
    if (
        len(fields) % 3
        or not all(kind in CONVERTERS for kind in kinds)
        or not all(_COUNT.fullmatch(count) and 0 < int(count) < 10_000 for count in counts)
    ):
        raise ValueError(
            f"Properties is {_short(properties)}; expected name:kind:number for each column, with "
            "kinds R, I, S and L"
        )
    lower = {name.lower(): name for name in ("species", "pos")}
    names = [lower.get(name.lower(), name) for name in fields[::3]]
    words = [NAMES.get(name, name) for name in names]
    twice = sorted({name for name in words if words.count(name) > 1})
    if twice:
        raise ValueError(f"two columns are called {', '.join(twice)}; give each a name of its own")
    widths = dict(zip(words, map(int, counts), strict=True))
    if widths.get("positions") != 3:
        raise ValueError(f"Properties is {_short(properties)}; expected positions, pos:R:3")
    if widths.get("symbols", widths.get("numbers")) != 1:
        raise ValueError(f"Properties is {_short(properties)}; expected species:S:1 or Z:I:1")
    text = ":".join(":".join(each) for each in zip(names, kinds, counts, strict=True))
    expanded = "".join(kind * int(count) for kind, count in zip(kinds, counts, strict=True))
    every = [name for name, count in zip(words, counts, strict=True) for _ in range(int(count))]
    return Columns(text, every, expanded)


def name_problem(word: str) -> str:
    """What is wrong with a word that stands for an element and is no symbol of one."""
    begin = f"{_short(word)} is no element; expected a symbol such as Cu"
    if word.isdigit():
        return f"{begin} (an atomic number would be a column Z:I:1; LAMMPS writes types like this)"
    symbol = re.match(r"[A-Z][a-z]?", word)
    if symbol and symbol[0] in atomic_numbers and symbol[0] != "X":
        return f"{begin}; is it {symbol[0]}?"
    return begin


def _count_words(text: str) -> int:
    """The number of words, much faster than by splitting."""
    blank = np.frombuffer(f"{text}\n".encode(), np.uint8) <= ord(" ")
    return int(np.count_nonzero(blank[1:] & ~blank[:-1]))


def _check_widths(frame: Frame, width: int, plain: bool, path: Path) -> None:
    """Raises ValueError for a line with too few or too many words; in a plain file only with too
    few, and warns that more are not read."""
    for index, line in enumerate(frame.atoms):
        found = len(line.split())
        if found < width or (found > width and not plain):
            raise ValueError(
                f"{frame.where(index)} has {found} words ({_short(line.strip())}); expected {width}"
                f"{'' if plain else ', as Properties says'}, in {len(frame.atoms)} lines"
            )
    warnings.warn(
        f"{path}: columns after x, y, z are not read; name them in Properties", stacklevel=6
    )


def _check_end(frame: Frame, words: list[str]) -> None:
    """Raises ValueError if the last number, without a newline after it, has lost digits: all others
    have the same number of decimals, and it has fewer."""
    decimals = {len(word.partition(".")[2]) for word in words[:-1] if "." in word}
    if len(decimals) == 1 and 2 < max(decimals) > len(words[-1].partition(".")[2]):
        where = frame.where(len(frame.atoms) - 1)
        raise ValueError(
            f"{where} ends with {_short(words[-1])} and no newline; the file is cut off"
        )


def _check_logical(frame: Frame, columns: Columns) -> None:
    """Raises ValueError for a word that is not T or F, where ASE would read F."""
    places = [index for index, kind in enumerate(columns.kinds) if kind == "L"]
    for index, line in enumerate(frame.atoms):
        words = line.split()
        wrong = [place for place in places if words[place] not in LOGICAL]
        if wrong:
            name, word = columns.names[wrong[0]], words[wrong[0]]
            raise ValueError(f"{frame.where(index)}: {name} is {_short(word)}; expected T or F")


def _check_words(frame: Frame, columns: Columns) -> None:
    """Raises ValueError naming the first word that is no number or element where one belongs."""
    for index, line in enumerate(frame.atoms):
        for word, kind, name in zip(line.split(), columns.kinds, columns.names, strict=False):
            try:
                CONVERTERS[kind](word)
            except ValueError as error:
                what = "an integer" if kind == "I" else "a number"
                raise ValueError(
                    f"{frame.where(index)}: {name} is {_short(word)}; expected {what}"
                ) from error
            symbol = word.capitalize()
            if name == "symbols" and symbol not in atomic_numbers and symbol not in ISOTOPES:
                raise ValueError(f"{frame.where(index)}: {name_problem(word)}")


def _replace_isotopes(frame: Frame, columns: Columns) -> tuple[str, np.ndarray | None]:
    """The lines of the atoms with D and T written as H, and all masses (u); None: no D or T."""
    rows = [line.split() for line in frame.atoms]
    place = columns.names.index("symbols") if "symbols" in columns.names else 0
    symbols = [row[place].capitalize() for row in rows]
    if not set(symbols) & ISOTOPES.keys():
        return "", None
    for row, symbol in zip(rows, symbols, strict=True):
        row[place] = "H" if symbol in ISOTOPES else symbol
    masses = [ISOTOPES.get(s) or atomic_masses[atomic_numbers[s]] for s in symbols]
    return "".join(f"{' '.join(row)}\n" for row in rows), np.array(masses)


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
