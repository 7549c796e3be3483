"""Descriptors without a network: colour statistics, and morphology on a segmented cell."""
