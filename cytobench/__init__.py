"""CytoBench: which foundation model should I use for my cells, and how sure can I be?"""

__version__ = "0.1.0"
