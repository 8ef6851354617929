"""Which symmetry group a model should have: found from data, or measured on a model."""
