# LAVIS, in an environment of its own, beside our BLIP-2: the same files must give the same logits. Not part of rule all.

LAVIS = f"{STAGES}/parity"


rule lavis_environment:
    input:
        f"{CHECKOUT}/envs/lavis.txt",
    output:
        touch(f"{LAVIS}/environment.ready"),
    log:
        "logs/lavis_environment.log",
    localrule: True
    params:
        python=sys.executable,
        folder=lambda wildcards, output: os.path.splitext(output[0])[0],
    message:
        "Install LAVIS in an environment of its own."
    shell:
        "({params.python} -m venv --clear {params.folder} && {params.folder}/bin/python -m pip install -r {input:q}) > {log} 2>&1"


rule lavis_reference:
    input:
        environment=f"{LAVIS}/environment.ready",
        program=f"{CHECKOUT}/tools/lavis_reference.py",
    output:
        directory(f"{LAVIS}/reference"),
    log:
        "logs/lavis_reference.log",
    threads: CONFIG.threads
    resources:
        mem_mb=EDITS,
    params:
        python=lambda wildcards, input: f"{os.path.splitext(input.environment)[0]}/bin/python",
    message:
        "Ask LAVIS's own BLIP-2."
    shell:
        "{params.python} {input.program:q} {output} > {log} 2>&1"


rule parity_lavis:
    input:
        reference=f"{LAVIS}/reference",
    output:
        csv="results/parity_lavis.csv",
        converted=directory(f"{LAVIS}/converted"),
    log:
        "logs/parity_lavis.log",
    benchmark:
        f"{STAGES}/benchmarks/parity_lavis.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("compare_lavis"),
    message:
        "Compare LAVIS's logits with ours."
    script:
        "../workflow_scripts/compare_lavis.py"
