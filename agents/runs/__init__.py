"""One training run: its settings, its folder, and what it logs."""
