"""The benchmark: MMEdit files read and validated, and the embedded benchmark that is written in the same format."""
