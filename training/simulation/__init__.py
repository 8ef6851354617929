"""Structures that move: molecular dynamics and relaxation."""
