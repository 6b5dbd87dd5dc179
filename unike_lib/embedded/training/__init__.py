"""The training of the small backbones on the made-up world."""
