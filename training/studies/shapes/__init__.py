"""Shapes that stand upright, turned about the vertical: which symmetry tells them apart?"""
