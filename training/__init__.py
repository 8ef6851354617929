"""Training, evaluation and simulation of force fields, and the ``sikff`` command."""
