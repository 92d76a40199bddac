"""Search without gradients: optimizers, populations, and search spaces."""
