"""Train the editor of a method on the method-training edits, stopped by development edits."""

import time

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.load import open_backbone
    from unike_lib.benchmark.cases import read_files
    from unike_lib.editing.building import train_editor
    from unike_lib.io import write_csv, write_tensors

    inputs, most, questions = job.inputs, job.params.edits, job.backbone.text_locality
    backbone = open_backbone(job.params.folder, job.backbone, inputs.visual, inputs.frozen)
    cases, dev = read_files(inputs.cases, questions, most["method"]), read_files(inputs.dev, questions, most["dev"])
    start = time.perf_counter()
    weights, losses = train_editor(job.method(), backbone, cases, dev, job.params.seed)
    write_csv(job.outputs.losses, losses.assign(seconds=time.perf_counter() - start), "%.6g")
    write_tensors(job.outputs.weights, weights, job.fingerprint)
