"""Write what becomes of each edit as a whole, and what edits cost, from the records of a table's cells."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.reporting.edit_tables import write_edit_tables
    from unike_lib.table_parts import TableParts

    inputs, trained = job.inputs, {}
    for path, (backbone, method) in zip(inputs.losses, job.params.trained, strict=True):
        trained.setdefault((backbone, method), []).append(path)
    write_edit_tables(inputs.records, trained, job.outputs, job.section("table", TableParts))
