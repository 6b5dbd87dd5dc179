"""Join the diagnostics of all backbones."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake):
    from unike_lib.reporting.tables import write_diagnostics

    outputs = {name: Path(path) for name, path in snakemake.output.items()}
    write_diagnostics([Path(path) for path in snakemake.input.tables], outputs)
