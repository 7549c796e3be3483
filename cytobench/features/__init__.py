"""Features: what was seen x what saw it, computed once and never wrong.

`items` names what was seen, `space` names what saw it, `store` keeps the numbers, `extract` computes them.
"""
