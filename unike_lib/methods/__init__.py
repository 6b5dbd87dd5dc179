"""Editing methods, a room each: its manifest METHOD, its settings, its editor, the parts that it invented."""
