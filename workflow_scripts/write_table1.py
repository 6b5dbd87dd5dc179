"""Write Table 1 from the records of its cells."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.reporting.tables import write_table1

    outputs = {name: Path(path) for name, path in snakemake.output.items()}
    records, channels = ([Path(path) for path in snakemake.input[name]] for name in ("records", "channels"))
    write_table1(records, channels, outputs, config)
