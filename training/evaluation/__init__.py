"""How good a force field is, and what it predicts."""
