"""Write Table 5 from the records of Tables 1 and 2."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.benchmark.missing import counts_notes
    from unike_lib.reporting.averages import write_table5
    from unike_lib.table_parts import TableParts

    inputs, run = job.inputs, job.section("table", TableParts)
    notes = [note for path in inputs.counts for note in counts_notes(path)]
    write_table5(inputs.one_step, inputs.sequential, inputs.admission, job.outputs, run, notes)
