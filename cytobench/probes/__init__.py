"""Probes: what is fitted on frozen features. Arrays in, class probabilities out; no files, no cards."""
