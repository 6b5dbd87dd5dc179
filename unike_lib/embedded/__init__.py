"""The small world and the small models: a made-up benchmark, and backbones that are trained on it."""
