"""Language models as policies: loading, encoding, heads, and choices at positions."""
