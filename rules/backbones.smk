# The backbones: embedded ones are trained here, others are read where they lie; then what each sees in every picture.


def is_embedded(backbone):
    """Whether this workflow trains the backbone itself."""
    return CONFIG.backbones[backbone].folder is None


def backbone_folder(name):
    """Where the backbone's save_pretrained folder is, or its hub id."""
    return (
        f"{STAGES}/backbones/{name}"
        if is_embedded(name)
        else CONFIG.backbones[name].folder
    )


def backbone_files(wildcards):
    """The backbone as an input of a rule: its folder, or nothing if it is named by a hub id."""
    folder = backbone_folder(wildcards.backbone)
    return [folder] if is_embedded(wildcards.backbone) or os.path.isdir(folder) else []


rule tower_features:
    input:
        scenes=f"{BENCHMARK}/scenes.parquet",
        training=f"{BENCHMARK}/training.parquet",
        images=IMAGES,
        code=lib("extract_tower_features"),
    output:
        f"{STAGES}/tower/features.safetensors",
    log:
        "logs/tower_features.log",
    benchmark:
        f"{STAGES}/benchmarks/tower_features.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=2000,
    params:
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/extract_tower_features.py"


rule pretrain:
    input:
        features=f"{STAGES}/tower/features.safetensors",
        training=f"{BENCHMARK}/training.parquet",
        templates=f"{BENCHMARK}/templates.parquet",
        vocabulary=f"{BENCHMARK}/vocabulary.json",
        code=lib("pretrain"),
    output:
        directory(f"{STAGES}/backbones/{{backbone}}"),
    log:
        "logs/pretrain/{backbone}.log",
    benchmark:
        f"{STAGES}/benchmarks/pretrain/{{backbone}}.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=2500,
    params:
        backbone=backbone_fields("family", "vqa_prompt"),
        pretrain=CONFIG.pretrain.model_dump(mode="json"),
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/pretrain.py"


rule visual:
    input:
        cases=expand(
            "{folder}/{{split}}_{task}.json", folder=BENCHMARK, task=["vqa", "caption"]
        ),
        images=IMAGES,
        backbone=backbone_files,
        code=lib("extract_visual"),
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
        folder=lambda wildcards: backbone_folder(wildcards.backbone),
        image_root=IMAGE_ROOT,
        backbone=backbone_fields("family", "dtype"),
    script:
        "../workflow_scripts/extract_visual.py"


# What a backbone knows of the taught items, and of those it should not know.
DIAGNOSED = ["taught"] * EMBEDDED + ["eval"]


rule diagnostics:
    input:
        **{
            split: expand(
                "{folder}/{split}_{task}.json",
                folder=BENCHMARK,
                split=split,
                task=["vqa", "caption"],
            )
            for split in DIAGNOSED
        },
        visual=expand(
            "{folder}/visual/{{backbone}}/{split}.safetensors",
            folder=STAGES,
            split=DIAGNOSED,
        ),
        backbone=backbone_files,
        code=lib("diagnose"),
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
        folder=lambda wildcards: backbone_folder(wildcards.backbone),
        backbone=backbone_fields("family", "dtype", "vqa_prompt"),
        splits=DIAGNOSED,
        max_new_tokens=CONFIG.evaluation.max_new_tokens,
    script:
        "../workflow_scripts/diagnose.py"
