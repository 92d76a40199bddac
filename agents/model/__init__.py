"""Language models as policies: loading, encoding, heads, and the choices at positions."""
