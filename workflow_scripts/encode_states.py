"""Encode held-out states of the last edited layer in both encoder spaces."""

from pathlib import Path

from unike_lib.runtime import Stage, job_mark

with Stage(snakemake) as config:
    from unike_lib.io import write_table
    from unike_lib.knowledge.encodings import ENCODING_SCHEMA, encode_held_out

    encoders, most = config.knowledge.encoders, config.figures.fig5a.triplets
    files = (Path(snakemake.input.states), Path(snakemake.input.encoders))
    table = encode_held_out(*files, encoders.held_out, config.seed, most)
    write_table(snakemake.output[0], table, job_mark(snakemake), ENCODING_SCHEMA)
