"""Force fields in i-PI, which moves the beads of path integrals: extra `ipi`."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import ase.io
import numpy as np
from torch import Tensor

from sikff.graph import StructureArrays
from sikff.graph.conditions import FIELD, ORIGIN, Conditions

from .ase_properties import check_parameters
from .structure_evaluator import REPLAY_AFTER, SKIN, StructureEvaluator

DRIVER = Path(__file__).with_name("ipi_driver.py")  # what i-PI loads
ANGSTROM, ELECTRONVOLT = 1.8897261, 0.036749326  # in atomic units, as i-PI has them
VECTORS = (FIELD, ORIGIN)
UNIX = "/tmp/ipi_"  # where i-PI puts its unix sockets
HEADER = 12  # bytes of a message
RETRY = 0.5  # s

Result = tuple[float, np.ndarray, np.ndarray, str]  # energy, forces [N, 3], virial [3, 3], extras


class SIKFFDriver:
    """What i-PI calls for energies, forces and virials: ``<ffdirect>`` with ``<pes> custom``.

    The arguments are the ``<parameters>`` of the force field in the input of i-PI. With a
    ``<batch_size>`` several beads are evaluated at once. Elements, periodic directions and
    conditions (`electric_field` and the others of :class:`~sikff.calculators.SIKFFCalculator`) are
    those of the last structure in the template; positions and cell those of i-PI. Virials are NaN
    in components that depend on the origin of the coordinates, above a surface.

    An error ends i-PI, also in a force field with threads of its own.

    Args:
        template: a file of the structure, as ASE reads it.
        model: path of a model file; of several, separated by colons, the mean.
        device, dtype, skin: as those of SIKFFCalculator.
        replay_after: likewise; "none": never.
        verbosity: of i-PI, which gives it to every driver.
        **conditions: `electric_field`, `surface_origin` (three numbers separated by spaces),
            `surface`, `charge`, `spin`, if the template has none.

    Raises:
        FileNotFoundError, ValueError: as SIKFFCalculator; for other parameters.
    """

    def __init__(
        self,
        template: str,
        model: str,
        device: str = "auto",
        dtype: str | None = None,
        skin: float = SKIN,
        replay_after: int | str = REPLAY_AFTER,
        verbosity: object = None,
        **conditions: Any,
    ) -> None:
        given = {k: v.split() if k in VECTORS else v for k, v in conditions.items()}
        check_parameters(given)
        *_, atoms = ase.io.iread(template)
        self._numbers, self._pbc = atoms.numbers, atoms.pbc
        self._conditions = Conditions.of(atoms.info, given)
        patience = None if replay_after == "none" else int(replay_after)
        self._evaluator = StructureEvaluator.of(
            model.split(os.pathsep), device, dtype, skin, replay_after=patience
        )

    def __call__(self, cell: np.ndarray | Sequence[np.ndarray], pos: Any) -> Result | list[Result]:
        """Results for one structure, or for a list of them, in atomic units.

        Args:
            cell: [3, 3], columns are cell vectors, or a list.
            pos: [N, 3], or a list.

        Raises:
            ValueError: for another number of atoms than in the template; as SIKFFCalculator.
            CalculationFailed: if a model returns NaN or infinity.
        """
        try:
            if isinstance(cell, np.ndarray):
                return self.evaluate([cell], [pos])[0]
            return self.evaluate(cell, pos)
        except Exception as error:
            _end_simulation(error)
            raise

    def evaluate(self, cells: Sequence[Any], positions: Sequence[Any]) -> list[Result]:
        """Results for structures; else as a call, but errors do not end i-PI."""
        n = len(self._numbers)
        if any(len(each) != n for each in positions):
            raise ValueError(
                f"i-PI has {len(positions[0])} atoms, the template {n}; expected the same atoms, "
                "in the same order"
            )
        structures = [
            StructureArrays.of(x / ANGSTROM, self._numbers, cell.T / ANGSTROM, self._pbc)
            for x, cell in zip(positions, cells, strict=True)
        ]
        conditions = [self._conditions] * len(structures)
        found = self._evaluator.mean(structures, conditions, stress=True)
        energies, forces, stresses = (
            cast(Tensor, x).double().cpu().numpy()
            for x in (found.energy, found.forces, found.stress)
        )
        volumes = abs(np.linalg.det([structure.cell for structure in structures]))
        virials = -stresses * volumes[:, None, None] * ELECTRONVOLT
        forces = forces.reshape(-1, n, 3) * (ELECTRONVOLT / ANGSTROM)
        return [
            (energy * ELECTRONVOLT, force, virial, "")
            for energy, force, virial in zip(energies.tolist(), forces, virials, strict=True)
        ]


def _end_simulation(error: Exception) -> None:
    """Ends i-PI from one of its threads, whose exceptions would leave the others waiting."""
    if threading.current_thread() is not threading.main_thread():
        from ipi.utils.softexit import softexit

        softexit.cleanup("bad", f"sikff: {error}")


def connect(address: str, port: int | None = None, wait: float = 0.0) -> socket.socket:
    """Connects to an i-PI.

    Args:
        address: name of a unix socket, as in the input of i-PI; with a port, a host.
        port: of the host.
        wait: s, for i-PI to start.

    Raises:
        ConnectionError: if there is none.
    """
    end = time.monotonic() + wait
    while True:
        unix = port is None
        connection = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        try:
            connection.connect(UNIX + address if unix else (address, port))
            return connection
        except OSError as error:
            connection.close()
            if time.monotonic() >= end:
                where = f"unix socket {UNIX}{address}" if unix else f"{address}, port {port}"
                raise ConnectionError(f"no i-PI at {where} ({error}); start i-PI first") from error
            time.sleep(RETRY)


def serve(driver: SIKFFDriver, connection: socket.socket) -> int:
    """Computes for i-PI until it ends; returns the number of evaluations.

    Raises:
        ConnectionError: if i-PI says what is not in its protocol.
        ValueError, CalculationFailed: as the driver.
    """
    calls, result = 0, None  # type: int, Result | None
    with connection, connection.makefile("rb") as stream:
        while message := stream.read(HEADER).decode("ascii", "replace").strip():
            if message == "STATUS":
                connection.sendall(_header("READY" if result is None else "HAVEDATA"))
            elif message == "INIT":  # the number of the bead, and parameters as text
                _, length = _numbers(stream, np.int32, 2)
                stream.read(length)
            elif message == "POSDATA":
                cell, _ = _numbers(stream, np.float64, 18).reshape(2, 3, 3)
                (n,) = _numbers(stream, np.int32, 1)
                positions = _numbers(stream, np.float64, 3 * n).reshape(n, 3)
                (result,) = driver.evaluate([cell], [positions])
                calls += 1
            elif message == "GETFORCE" and result is not None:
                energy, forces, virial, _ = result
                head, n = np.float64(energy).tobytes(), np.int32(len(forces)).tobytes()
                arrays = forces.tobytes() + virial.T.tobytes() + np.int32(0).tobytes()
                connection.sendall(_header("FORCEREADY") + head + n + arrays)
                result = None
            elif message == "EXIT":
                break
            else:
                raise ConnectionError(f"i-PI says {message!r}, which is not in its protocol")
    return calls


def _header(message: str) -> bytes:
    return message.encode("ascii").ljust(HEADER)


def _numbers(stream: BinaryIO, dtype: Any, n: int) -> np.ndarray:
    data = stream.read(n * np.dtype(dtype).itemsize)
    if len(data) < n * np.dtype(dtype).itemsize:
        raise ConnectionError("i-PI has ended amid a message")
    return np.frombuffer(data, dtype).copy()
