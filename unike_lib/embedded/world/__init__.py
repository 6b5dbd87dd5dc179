"""The made-up world: its facts, words, drawings and scenes, written as a benchmark."""
