"""Crystal surfaces: their wallpaper groups and stars of plane waves (all at build time)."""

from sikff.surface.sites import Line, Site, find_lines, find_sites, site_symmetry
from sikff.surface.slab import SlabSurface, SurfaceAtoms, find_wallpaper
from sikff.surface.stars import Star, fewest_stars, first_stars, star_representation
from sikff.surface.wallpaper import Wallpaper

__all__ = [
    "Line",
    "Site",
    "SlabSurface",
    "Star",
    "SurfaceAtoms",
    "Wallpaper",
    "fewest_stars",
    "find_lines",
    "find_sites",
    "find_wallpaper",
    "first_stars",
    "site_symmetry",
    "star_representation",
]
