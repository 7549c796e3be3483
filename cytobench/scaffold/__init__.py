"""Cards and packages written for a user, to begin with: they pass `cytobench check` at once."""
