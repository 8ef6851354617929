"""Predictions of force fields, their errors, and figures."""
