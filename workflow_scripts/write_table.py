"""Write one of Tables 1 to 4 from the records of its cells."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.benchmark.missing import counts_notes
    from unike_lib.reporting.tables import write_table
    from unike_lib.table_parts import TableParts

    inputs, run = job.inputs, job.section("table", TableParts)
    notes = [note for path in inputs.counts for note in counts_notes(path)]
    write_table(job.wildcards.table, inputs.records, inputs.admission, job.outputs, run, notes)
