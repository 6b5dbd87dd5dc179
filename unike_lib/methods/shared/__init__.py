"""What several methods use: extra neurons and their training, low-rank changes, trained networks."""
