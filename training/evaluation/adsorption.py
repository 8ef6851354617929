"""One molecule above a surface: sites, vibrations and paths, as lines and files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase
import ase.io
import numpy as np

from sikff.atomic_write import complete

from .adsorbate import Adsorbate
from .evaluate import write_json
from .hops import Hop, find_hops
from .plots import plane_directions
from .site_map import (
    SiteMap,
    Stationary,
    above_flat,
    at_sites,
    describe_point,
    find_minima,
    map_sites,
)

Array = np.ndarray

MEV = 1000.0


class Adsorption(NamedTuple):
    """What was found of a molecule above a surface.

    Attributes:
        minima: the lowest first; sites: held at each high-symmetry site.
        site_map, sites, hops: of a crystal surface; None and empty for a flat one.
    """

    adsorbate: Adsorbate
    minima: list[Stationary]
    site_map: SiteMap | None = None
    sites: Sequence[Stationary] = ()
    hops: Sequence[Hop] = ()

    @property
    def places(self) -> list[Stationary]:
        """Minima, then sites."""
        return [*self.minima, *self.sites]

    @property
    def lines(self) -> list[str]:
        """All of it for the user."""
        surface = self.adsorbate.surface
        kind = "a flat surface" if surface.wallpaper is None else f"a surface {surface.wallpaper!r}"
        lines = [f"{self.adsorbate.free.get_chemical_formula()} above {kind}"]
        if self.site_map is not None and self.adsorbate.is_chiral:
            lines.append("the molecule is chiral: mirror and glide lines do not map it to itself")
        lines += ["", HEADER, *map(self._line, self.places)]
        lines += ["tilt: of the molecule's axis from the normal; plane: of its plane's normal", ""]
        for minimum in self.minima:
            lines += self._frequencies(minimum)
        for number, hop in enumerate(self.hops, start=1):
            n = hop.vibrations.n_imaginary
            note = "" if n == 1 else f"; its highest structure has {n} imaginary frequencies"
            note += "" if hop.converged else "; not converged"
            lines.append(
                f"path {number}: over {hop.distance:.3f} Å, barrier {MEV * hop.barrier:.1f} meV"
                f" ({hop.vibrations.wavenumbers[0]:.0f} cm^-1 at the top){note}"
            )
        return lines

    def _line(self, found: Stationary) -> str:
        row = self.row(found)
        place = "any" if found.place is None else describe_point(found.place)
        angles = "".join(f" {row[key]:6.0f}" if key in row else f" {'':6s}" for key in ANGLES)
        pull = f"  by {found.pull:.3f} eV/Å" if found.vibrations is None else ""
        return (
            f"{found.kind:13s} {place:14s} {found.symmetry:5s} {MEV * found.energy:9.1f} "
            f"{row['height_A']:8.3f}{angles}{pull}"
        ).rstrip()

    def _frequencies(self, minimum: Stationary) -> list[str]:
        assert minimum.vibrations is not None
        modes = zip(minimum.vibrations.wavenumbers, minimum.vibrations.kinds, strict=True)
        is_atom = len(self.adsorbate) == 1
        named = [f"{number:.0f}" + ("" if is_atom else f" {kind[0]}") for number, kind in modes]
        zero_point = MEV * minimum.vibrations.zero_point_energy
        where = "" if minimum.place is None else f" at {describe_point(minimum.place)}"
        letters = "" if is_atom else " (t, r: frustrated translation, rotation; i: internal)"
        return [
            f"vibrations of the minimum{where}, cm^-1{letters}: {', '.join(named)}",
            f"zero-point energy {zero_point:.1f} meV",
        ]

    def row(self, found: Stationary) -> dict[str, Any]:
        """What is known of a place, by name with unit."""
        adsorbate, surface = self.adsorbate, self.adsorbate.surface
        positions = adsorbate.positions(found.atoms)
        row: dict[str, Any] = {"kind": found.kind, "energy_meV": MEV * found.energy}
        if found.place is not None:
            row |= {"a": found.place[0], "b": found.place[1], "site_group": found.symmetry}
        row["height_A"] = float(surface.heights(adsorbate.anchor(positions)))
        row["lowest_atom_A"] = float(surface.heights(positions).min())
        row |= orientation(found.atoms[: len(adsorbate)], surface.normal)
        row["lateral_force_eV_per_A"] = found.pull
        if found.vibrations is not None:
            row["wavenumbers_per_cm"] = found.vibrations.wavenumbers.tolist()
        return row

    def save(self, folder: Path) -> list[Path]:
        """Writes sites.json, structures.xyz and, of a crystal surface, map.csv and paths.csv."""
        folder.mkdir(parents=True, exist_ok=True)
        results = {"places": [self.row(each) for each in self.places]}
        results["paths"] = [self._hop_row(hop) for hop in self.hops]
        write_json(folder / "sites.json", results)
        structures = [self._labelled(s.atoms, kind=s.kind) for s in self.places]
        for number, hop in enumerate(self.hops, start=1):
            structures += [self._labelled(atoms, kind=f"path {number}") for atoms in hop.path]
        with complete(folder / "structures.xyz") as temporary:
            ase.io.write(temporary, structures, format="extxyz")
        written = [folder / "sites.json", folder / "structures.xyz"]
        if self.site_map is not None:
            written += [folder / "map.csv", folder / "paths.csv"]
            grid = self.site_map.grid
            rows = zip(*grid.places.T, MEV * self.site_map.energies.ravel(), strict=True)
            write_csv(folder / "map.csv", ("a", "b", "energy_meV"), rows)
            steps = [
                (number, image, MEV * energy)
                for number, hop in enumerate(self.hops, start=1)
                for image, energy in enumerate(hop.energies)
            ]
            write_csv(folder / "paths.csv", ("path", "image", "energy_meV"), steps)
        return written

    def _hop_row(self, hop: Hop) -> dict[str, Any]:
        return {
            "operation": str(self.adsorbate.surface.corrugated.operations[hop.element.operation]),
            "lattice_vectors": [int(step) for step in hop.element.steps],
            "distance_A": hop.distance,
            "barrier_meV": MEV * hop.barrier,
            "converged": hop.converged,
            "wavenumbers_per_cm": hop.vibrations.wavenumbers.tolist(),
        }

    def _labelled(self, atoms: ase.Atoms, **info: Any) -> ase.Atoms:
        """A copy of a structure without its calculator."""
        copy = atoms.copy()
        copy.set_constraint()
        copy.info |= {**info, "adsorption_energy": self.adsorbate.energy(atoms)}
        return copy


HEADER = (
    f"{'what':13s} {'a, b':14s} {'group':5s} {'meV':>9s} {'height':>8s} {'tilt':>6s} {'plane':>6s} "
    f"{'azimuth':>7s}"
)
ANGLES = ("tilt_deg", "plane_deg", "azimuth_deg")


def study(
    adsorbate: Adsorbate,
    n: int = 12,
    starts: int = 6,
    paths: int = 2,
    images: int = 7,
    on_place: Callable[[], Any] = lambda: None,
) -> Adsorption:
    """Maps the sites of a molecule on a surface, finds the minima, their vibrations, and the paths
    from the lowest one to its images.

    Args:
        n: places of the map along each lattice vector.
        starts: orientations from which the molecule is relaxed at each place.
        paths: number of paths, the shortest first; there are fewer if these lead everywhere.
        images: structures between the ends of a path.
        on_place: called after each place of the map.
    """
    if adsorbate.surface.wallpaper is None:
        return Adsorption(adsorbate, [above_flat(adsorbate, starts)])
    sites = map_sites(adsorbate, n, starts, on_place)
    minima = find_minima(adsorbate, sites)
    held = at_sites(adsorbate, sites, starts)
    hops = find_hops(adsorbate, minima[0].atoms, paths, images)
    return Adsorption(adsorbate, minima, sites, held, hops)


def orientation(molecule: ase.Atoms, normal: Array) -> dict[str, float]:
    """Angles (degrees) of a molecule.

    Returns:
        tilt_deg of its axis from the normal, azimuth_deg of the axis about it (from x, or from y
        where the normal is x); the axis leads from the heaviest atom to the mean of all, or is the
        normal of the plane where these are one point. plane_deg, at most 90, of the axis of the
        largest moment of inertia: the normal of the plane of planar molecules. Nothing for an atom.
    """
    if len(molecule) == 1:
        return {}
    positions, masses = molecule.positions, molecule.get_masses()
    axis = positions.mean(axis=0) - positions[masses.argmax()]
    _, principal = molecule.get_moments_of_inertia(vectors=True)
    across = principal[2]
    if np.linalg.norm(axis) < 0.05:
        axis = across
    axis = axis / np.linalg.norm(axis)
    found = {"tilt_deg": float(np.degrees(np.arccos(np.clip(axis @ normal, -1, 1))))}
    if len(molecule) > 2:
        cosine = min(abs(float(across @ normal)), 1.0)
        found["plane_deg"] = float(np.degrees(np.arccos(cosine)))
    lateral = axis @ plane_directions(normal)
    if np.hypot(*lateral) > 0.02:
        found["azimuth_deg"] = float(np.degrees(np.arctan2(lateral[1], lateral[0])))
    return found


def write_csv(path: Path, names: tuple[str, ...], rows: Any) -> None:
    """Writes a table; numbers have six significant digits."""
    with complete(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([f"{each:.6g}" for each in row] for row in rows)
