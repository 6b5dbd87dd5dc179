"""Probe whether latent states of the very fact help a backbone, on the evaluation edits of all tasks."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.backbones.load import load_backbone
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.benchmark.mmedit import read_cases
    from unike_lib.evaluation.channel import probe_channel
    from unike_lib.io import atomic_path

    name = snakemake.wildcards.backbone
    backbone = load_backbone(snakemake.params.folder, config.backbones[name], VisualStore(Path(snakemake.input.visual)))
    cases = [case for path in snakemake.input.cases for case in read_cases(path)[: snakemake.params.edits]]
    table = probe_channel(backbone, cases)
    table.insert(0, "backbone", name)
    with atomic_path(snakemake.output[0]) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
