"""How benchmarks are written: one module per dialect, with an entry `DIALECT`."""
