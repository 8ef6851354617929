"""Data sets larger than memory: structures on the disk, graphs made when they are asked for."""
