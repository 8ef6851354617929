"""The fit of a force field: loop, optimiser, losses, initial weights, log."""
