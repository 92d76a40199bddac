"""Search without gradients: optimizers, populations, and the parts of a policy that they search."""
