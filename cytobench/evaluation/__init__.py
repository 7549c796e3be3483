"""The fair, tuned, leak-free protocol: folds, tuning, metrics, results and the loop over the grid of runs."""
