"""embedsvc: documents in, checked answers out."""

__version__ = "0.1.0"
