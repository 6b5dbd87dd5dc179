"""Write Table 1 from the records of its cells."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.reporting.tables import write_table1

    outputs = {name: Path(path) for name, path in snakemake.output.items()}
    records = [Path(path) for path in snakemake.input.records]
    write_table1(records, Path(snakemake.input.admission), outputs, config)
