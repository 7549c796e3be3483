"""CytoBench compares frozen foundation models on cytology under one leak-free protocol."""

__version__ = "0.1.0"
