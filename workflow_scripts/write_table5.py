"""Write Table 5 from the records of Tables 1 and 2."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.benchmark.missing import counts_notes
    from unike_lib.reporting.averages import write_table5

    outputs = {name: Path(path) for name, path in snakemake.output.items()}
    names = ("one_step", "sequential", "admission")
    records = [[Path(path) for path in snakemake.input[name]] for name in names]
    notes = [note for path in snakemake.input.counts for note in counts_notes(Path(path))]
    write_table5(*records, outputs, config, notes)
