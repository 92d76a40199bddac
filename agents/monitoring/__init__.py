"""Labelling a stream of texts line by line, and alerts when the share of a label changes."""
