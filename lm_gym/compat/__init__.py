"""Adapters to the vector interfaces of other libraries; each module imports only its own library."""
