"""Evaluation of a split: metrics, predictions, reports and pages."""
