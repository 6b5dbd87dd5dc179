"""Edit and score a shard of a split's cases with one method, in sessions of one task or of several, for every K."""

from functools import partial
from pathlib import Path

from unike_lib.runtime import Stage, job_mark

with Stage(snakemake) as config:
    from unike_lib.backbones.speed.state_cache import StateCache
    from unike_lib.backbones.load import load_backbone
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.editing.building import editors_of_job
    from unike_lib.evaluation.chunks import kept_chunks
    from unike_lib.evaluation.composition import session_cases, shard_cases
    from unike_lib.evaluation.records import RECORD_SCHEMA, Before
    from unike_lib.evaluation.sessions import records_table, run_edits
    from unike_lib.io import write_table

    names, mark = snakemake.wildcards, job_mark(snakemake)
    settings, seed = config.backbones[names.backbone], snakemake.params.seed
    backbone = load_backbone(snakemake.params.folder, settings, VisualStore(Path(snakemake.input.visual)))
    backbone.cache = StateCache(backbone, map(Path, snakemake.input.frozen))
    editor = editors_of_job(snakemake, config, backbone)({})
    tasks = [read_cases(path, text_locality=settings.text_locality) for path in snakemake.input.cases]
    ks = map(int, names.ks.split("-"))
    cases = {k: session_cases(tasks, k, snakemake.params.edits, seed) for k in ks}
    cases, first = shard_cases(cases, *snakemake.params.shard)
    before = Before.load_all(snakemake.input.base)
    edit = partial(run_edits, backbone, editor, before=before, settings=config.evaluation)
    labels = {"backbone": names.backbone, "task": names.task, "method": names.method}
    with kept_chunks(Path(snakemake.output[0]), mark) as chunks:
        scores = chunks.run(edit, cases, config.evaluation.sessions)
        table = records_table(scores, labels | {"seed": seed, "mark": mark}, first)
        write_table(snakemake.output[0], table, mark, RECORD_SCHEMA)
