"""Readers of formats that ASE does not read: labels in eV, eV/Å and eV/Å^3 with ASE's signs."""
