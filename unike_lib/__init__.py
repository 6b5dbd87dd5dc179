"""Unified multimodal knowledge editing: an edit is a small patch next to a frozen model."""

__version__ = "0.1.0"
