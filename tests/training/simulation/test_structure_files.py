"""Structure files of simulations."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.constraints import FixAtoms

from disk import full_disk
from sikff.training.simulation.structure_files import read_structure, write_structures
from tolerances import WRITTEN


def test_structures_survive_a_file(tmp_path: Path, atoms: ase.Atoms) -> None:
    atoms.set_constraint(FixAtoms([2]))
    for name in ("s.extxyz", "s.traj", "s@1"):
        ase.io.write(tmp_path / name, atoms, format="traj" if "." not in name else None)
        again = read_structure(tmp_path / name)
        assert np.abs(again.positions - atoms.positions).max() < WRITTEN
        assert again.constraints[0].index.tolist() == [2]
    write_structures(tmp_path / "s.extxyz", atoms)
    assert np.abs(read_structure(tmp_path / "s.extxyz").positions - atoms.positions).max() < WRITTEN
    with pytest.raises(FileNotFoundError, match="no structure file"):
        read_structure(tmp_path / "absent.xyz")
    (tmp_path / "bad.xyz").write_text("x")
    with pytest.raises(ValueError, match="cannot read"):
        read_structure(tmp_path / "bad.xyz")
    (tmp_path / "empty.xyz").write_text("0\n\n")
    with pytest.raises(ValueError, match=r"empty\.xyz' holds no atoms"):
        read_structure(tmp_path / "empty.xyz")
    with pytest.raises(ValueError, match=r"ASE cannot write .*s\.what"):
        write_structures(tmp_path / "s.what", atoms)
    with full_disk(100), pytest.raises(OSError, match=r"cannot write the file: .*s\.extxyz"):
        write_structures(tmp_path / "s.extxyz", atoms)
