"""Record inputs of the edited layers' FFNs over the pool, for the memory losses."""

from pathlib import Path

from unike_lib.runtime import Stage, job_mark

with Stage(snakemake) as config:
    from unike_lib.backbones.load import load_backbone
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.knowledge.extraction import extract_ffn_inputs

    settings = config.backbones[snakemake.wildcards.backbone]
    backbone = load_backbone(snakemake.params.folder, settings, VisualStore(Path(snakemake.input.visual)))
    questions = settings.text_locality
    cases = [case for path in snakemake.input.cases for case in read_cases(path, text_locality=questions)]
    limit, out = config.knowledge.memory_states, Path(snakemake.output[0])
    extract_ffn_inputs(backbone, cases, limit, out, job_mark(snakemake))
