"""What people look at: contact sheets of cells and self-contained pages, in one style."""
