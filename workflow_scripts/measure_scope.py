"""Measure what each layer knows again of the evaluation edits, for the table and the figure alone."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.io import write_csv
    from unike_lib.knowledge.scope import load_scope
    from unike_lib.knowledge.scope_states import read_scope_states
    from unike_lib.knowledge.scope_table import scope_rows

    states = read_scope_states(job.inputs.states)
    write_csv(job.outputs.csv, scope_rows(states, load_scope(job.inputs.scope)))
