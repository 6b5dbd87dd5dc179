"""Write a table from the records of its cells, or of the cells that it averages."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.benchmark.missing import counts_notes
    from unike_lib.benchmark.texts import texts_notes
    from unike_lib.benchmark.versions import versions_notes, versions_of
    from unike_lib.reporting.protocol import write_protocol
    from unike_lib.reporting.tables import write_result_table
    from unike_lib.reporting.tier_notes import tiers_notes
    from unike_lib.table_parts import TableParts

    inputs, run = job.inputs, job.section("table", TableParts)
    records = {name: inputs[f"records_{name}"] for name in run.tables}
    notes = [note for path in inputs.counts for note in counts_notes(path)]
    notes += texts_notes(inputs.texts)
    notes += [note for path in inputs.counts for note in versions_notes(path)] + tiers_notes(inputs.tiers)
    versions = {file: version for path in inputs.counts for file, version in versions_of(path).items()}
    outputs = {name: path for name, path in job.outputs.items() if name != "protocol"}
    write_result_table(records, inputs.control, outputs, run, notes, inputs.edits)
    outputs |= {kind: path for kind in ("edits", "cost") for path in inputs[kind]}
    tables = {name: path for name, path in outputs.items() if name not in ("markdown", "latex")}
    write_protocol(tables, job.outputs.protocol, run, versions)
