"""Choose the layer that knows a question again, on development edits, and set thresholds on pool edits."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.knowledge.scope_choice import write_scope
    from unike_lib.knowledge.scope_states import read_scope_states
    from unike_lib.knowledge.scope_table import write_development_rows

    pool, dev = read_scope_states(job.inputs.pool), read_scope_states(job.inputs.dev)
    write_scope(pool, dev, job.params.seed, job.outputs.scope, job.fingerprint)
    write_development_rows(pool, dev, job.outputs.scope, job.params.seed, job.outputs.csv)
