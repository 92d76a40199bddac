"""Playing a split once: metrics, predictions, reports and pages."""
