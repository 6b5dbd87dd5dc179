"""Test whether a backbone can show UniKE at all, on development edits of all tasks."""

from pathlib import Path

from unike_lib.runtime import Stage, job_mark

with Stage(snakemake) as config:
    from unike_lib.backbones.load import load_backbone
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.method import resolve_method
    from unike_lib.methods.unike.editor import build_shift
    from unike_lib.editing.building import EditorSources
    from unike_lib.evaluation.admission import ADMISSION_SCHEMA, Admission
    from unike_lib.io import atomic_path, write_table
    from unike_lib.knowledge.triplets import read_triplets

    name, inputs, settings = snakemake.wildcards.backbone, snakemake.input, config.admission
    backbone = load_backbone(snakemake.params.folder, config.backbones[name], VisualStore(Path(inputs.visual)))
    method = resolve_method(config.methods, settings.method, name)
    shift = build_shift(backbone, method, EditorSources(Path(snakemake.params.knowledge)))
    cases = [case for path in inputs.cases for case in read_cases(path)[: settings.candidates]]
    answers = [triplet.positive for triplet in read_triplets(Path(inputs.triplets))]
    scores, readout = Admission(backbone, shift, method.h_pos, settings).run(cases, answers)
    for table in (scores, readout):
        table.insert(0, "backbone", name)
    write_table(snakemake.output.scores, scores, job_mark(snakemake), ADMISSION_SCHEMA)
    with atomic_path(snakemake.output.readout) as temporary:
        readout.to_csv(temporary, index=False, float_format="%.6g")
