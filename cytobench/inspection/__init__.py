"""Looking at what a backbone sees: maps of its feature space, and the cells it gets wrong."""
