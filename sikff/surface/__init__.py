"""Crystal surfaces: their wallpaper groups and stars of plane waves (all at build time)."""

from sikff.surface.slab import SlabSurface, find_wallpaper
from sikff.surface.stars import Star, first_stars, star_representation
from sikff.surface.wallpaper import Wallpaper

__all__ = [
    "SlabSurface",
    "Star",
    "Wallpaper",
    "find_wallpaper",
    "first_stars",
    "star_representation",
]
