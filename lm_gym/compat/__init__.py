"""Adapters to other libraries' vector interfaces; each module imports the one library that it adapts to."""
