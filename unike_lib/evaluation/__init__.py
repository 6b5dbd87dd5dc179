"""Sessions of edits, metrics and records."""
