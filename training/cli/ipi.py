"""``sikff ipi``: a client of i-PI, or the input with which i-PI calls the force field itself."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..section import Count, NonNegative, Positive
from .simulated_structure import SimulatedStructure

if TYPE_CHECKING:
    from ase import Atoms

OPEN = 100.0  # Å, of a cell vector that the structure does not have
SPECIAL = ",{}<>&'\""  # characters that a path in the input may not have
INPUT = """\
<simulation verbosity='medium'>
  <output prefix='ipi'>
    <properties stride='10' filename='out'>
      [ step, time{{picosecond}}, conserved{{electronvolt}}, temperature{{kelvin}},
        kinetic_cv{{electronvolt}}, potential{{electronvolt}} ]
    </properties>
    <trajectory stride='100' filename='pos' format='ase'> positions{{ase}} </trajectory>
    <checkpoint stride='1000'/>
  </output>
  <total_steps> {steps} </total_steps>
  {forcefield}
  <system>
    <initialize nbeads='{beads}'>
      <file mode='ase'> {structure} </file>
      <cell mode='manual' units='angstrom'> {cell} </cell>
      <velocities mode='thermal' units='kelvin'> {temperature:g} </velocities>
    </initialize>
    <forces> <force forcefield='sikff'/> </forces>
    <ensemble> <temperature units='kelvin'> {temperature:g} </temperature> </ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'> {timestep:g} </timestep>
        <thermostat mode='{thermostat}'> <tau units='femtosecond'> 100 </tau> </thermostat>
      </dynamics>
    </motion>
  </system>
</simulation>"""
DIRECT = """\
<ffdirect name='sikff' pbc='False' threaded='False'>
    <pes> custom </pes>
    <pes_path> {driver} </pes_path>
    <batch_size> {beads} </batch_size>
    <parameters> {{ {parameters} }} </parameters>
  </ffdirect>"""
SOCKET = """\
<ffsocket name='sikff' mode='{mode}' pbc='False'>
    <address> {address} </address>{port}
  </ffsocket>"""


class IPIArguments(SimulatedStructure):
    """Arguments of ``sikff ipi``."""

    print_input: bool = False
    """print an input for i-PI, which evaluates all beads at once; with --address for a client"""
    address: str | None = None
    """of i-PI: the name of a unix socket or, with --port, a host"""
    port: int | None = None
    """of i-PI on that host"""
    wait: NonNegative = 60.0
    """seconds that a client waits for i-PI to start"""
    beads: Count = 16
    """in the printed input: beads of every atom; 1: classical nuclei"""
    steps: Count = 1000
    """likewise"""
    temperature: Positive = 300.0
    """likewise, K"""
    timestep: Positive = 0.25
    """likewise, fs"""


def run(settings: IPIArguments) -> None:
    """Prints the input, or computes for i-PI until it ends.

    Raises:
        ValueError: without an address, for constraints, which are the matter of i-PI, or a
            structure that i-PI does not take.
        ConnectionError: if there is no i-PI at the address.
    """
    from sikff.calculators.ipi import SIKFFDriver, connect, serve

    if not settings.print_input and settings.address is None:
        raise ValueError("give the --address of an i-PI to compute for, or --print-input")
    if settings.constraints:
        raise ValueError("i-PI moves the atoms: give constraints in its input, as fixatoms")
    if settings.compile:
        raise ValueError("--compile is for sikff md and relax; in i-PI small systems are replayed")
    atoms = settings.read()
    if atoms.constraints:
        warnings.warn(
            f"the constraints of {settings.structure} are not in force: i-PI moves the atoms; give "
            "them in its input, as fixatoms",
            stacklevel=2,
        )
        atoms.set_constraint()
    atoms.get_forces()  # errors of the calculator come first
    if settings.print_input:
        print(ipi_input(settings, atoms))
        return
    driver = SIKFFDriver(**parameters_of(settings, atoms))
    calls = serve(driver, connect(str(settings.address), settings.port, settings.wait))
    print(f"i-PI has ended after {calls} evaluations")


def ipi_input(settings: IPIArguments, atoms: Atoms) -> str:
    """The input for i-PI, with the parameters of :class:`~sikff.calculators.ipi.SIKFFDriver`."""
    import ase.io

    n_structures = sum(1 for _ in ase.io.iread(settings.structure))
    if n_structures > 1:
        raise ValueError(
            f"{settings.structure} has {n_structures} structures, which i-PI takes for beads; "
            "expected one"
        )
    given = settings.model_dump(include={"steps", "beads", "temperature", "timestep"})
    return INPUT.format(
        **given,
        structure=_path(settings.structure),
        cell=_cell(atoms),
        forcefield=_forcefield(settings, atoms),
        thermostat="pile_g" if settings.beads > 1 else "svr",
    )


def _forcefield(settings: IPIArguments, atoms: Atoms) -> str:
    from sikff.calculators.ipi import DRIVER

    if settings.address is not None:
        port = "" if settings.port is None else f" <port> {settings.port} </port>"
        mode = "unix" if settings.port is None else "inet"
        return SOCKET.format(mode=mode, address=settings.address, port=port)
    parameters = parameters_of(settings, atoms)
    text = ", ".join(f"{key}: {value}" for key, value in parameters.items())
    return DIRECT.format(driver=_path(DRIVER), beads=settings.beads, parameters=text)


def parameters_of(settings: IPIArguments, atoms: Atoms) -> dict[str, Any]:
    """The parameters of :class:`~sikff.calculators.ipi.SIKFFDriver`.

    Raises:
        ValueError: for conditions that are not those of the file.
    """
    import ase.io

    from sikff.graph.conditions import KEYS, Conditions

    parameters = {
        "template": _path(settings.structure),
        "model": os.pathsep.join(map(_path, settings.models)),
        "device": settings.device,
        "dtype": settings.dtype,
        "skin": settings.skin,
    }
    *_, last = ase.io.iread(settings.structure)
    given = {key: atoms.info[key] for key in KEYS if atoms.info.get(key) is not None}
    Conditions.of(last.info, given)
    for key in given.keys() - last.info.keys():
        value = given[key]
        parameters[key] = " ".join(map(repr, value)) if isinstance(value, list) else value
    return {key: value for key, value in parameters.items() if value is not None}


def _path(path: Path) -> str:
    """The absolute path.

    Raises:
        ValueError: if it cannot stand in an input of i-PI.
    """
    text = str(path.resolve())
    if any(character in text for character in (*SPECIAL, os.pathsep)):
        raise ValueError(f"{text} has a character that inputs of i-PI cannot hold: {SPECIAL}")
    return text


def _cell(atoms: Atoms) -> list[float]:
    """Cell vectors as the columns of a matrix, [9]; a vector that is missing is long."""
    import numpy as np

    cell = atoms.cell.complete().array.copy()
    cell[~atoms.cell.any(axis=1)] *= OPEN
    if abs(np.triu(cell, 1)).max() > 1e-8 or (np.diag(cell) <= 0).any():
        raise ValueError(
            f"the cell is {atoms.cell.array.round(4).tolist()}; i-PI expects the first vector "
            "along x and the second in the xy plane: turn the structure, and fields with it"
        )
    return cell.T.flatten().round(8).tolist()
