"""Write one of Tables 1 to 4 from the records of its cells."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.benchmark.missing import counts_notes
    from unike_lib.reporting.tables import write_table

    outputs = {name: Path(path) for name, path in snakemake.output.items()}
    records, admission = ([Path(path) for path in snakemake.input[name]] for name in ("records", "admission"))
    notes = [note for path in snakemake.input.counts for note in counts_notes(Path(path))]
    write_table(snakemake.wildcards.table, records, admission, outputs, config, notes)
