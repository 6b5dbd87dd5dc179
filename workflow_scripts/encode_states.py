"""Encode held-out states of the last edited layer in both encoder spaces."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.io import write_table
    from unike_lib.knowledge.encodings import ENCODING_SCHEMA, encode_held_out

    files, params = (job.inputs.states, job.inputs.encoders), job.params
    table = encode_held_out(*files, params.held_out, params.seed, params.triplets)
    write_table(job.outputs.encodings, table, job.fingerprint, ENCODING_SCHEMA)
