"""Lay the hidden states of the triplets out as the key-value memory."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake):
    from unike_lib.knowledge.memory import build_memory

    build_memory(Path(snakemake.input.states), Path(snakemake.output[0]))
