"""Labelled structures: read, checked, described, and put into batches."""
