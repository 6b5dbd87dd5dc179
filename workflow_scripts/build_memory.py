"""Lay the hidden states of the triplets out as the key-value memory."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.knowledge.memory import build_memory

    build_memory(job.inputs.states, job.outputs.memory)
