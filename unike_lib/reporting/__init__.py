"""Tables and figures from records; nothing here imports torch."""
