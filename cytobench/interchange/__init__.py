"""What goes out to other tools and labs, and what comes in: features, and bundles of results."""
