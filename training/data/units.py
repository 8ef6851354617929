"""Units in which data may be by mistake, in eV, Å and eV/Å^3."""

from ase.units import Bohr, GPa, Hartree, Rydberg, kcal, kJ, mol, nm

ENERGIES = {
    "eV": 1.0,
    "Hartree": Hartree,
    "Rydberg": Rydberg,
    "kcal/mol": kcal / mol,
    "kJ/mol": kJ / mol,
}
LENGTHS = {"Å": 1.0, "Bohr": Bohr, "nm": nm}
STRESSES = {"GPa": GPa, "kbar": GPa / 10}

RIGHT = 1.5  # a ratio of energy to work nearer to 1 than this factor is right
FIT = 0.15  # largest deviation of the logarithm of a ratio from that of a unit that explains it
