"""What a person calls by hand: one edit in Python or on the command line, and a doctor for models' folders."""
