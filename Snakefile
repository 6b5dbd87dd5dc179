# From a benchmark and a backbone to the paper's tables and figures.
# One stage, one rule, one script in workflow_scripts/, one call of the library unike_lib. README.md says how to run it.

from snakemake.utils import min_version

min_version("9.27.1")


# This folder, also where another workflow imports this one as a module (docs/module.md).
CHECKOUT = workflow.current_basedir.get_path_or_uri(secret_free=True)


configfile: f"{CHECKOUT}/config.yaml"


report: "rules/captions/workflow.rst"


include: "rules/common.smk"
include: "rules/functions.smk"


wildcard_constraints:
    backbone="|".join(map(re.escape, CONFIG.backbones)),
    task="(vqa|caption|cross)(-(vqa|caption|cross))*",
    split="taught|pool|method|dev|eval",
    ks=r"\d+(-\d+)*",
    repeat=r"(\.seed\d+)?",
    shard=r"(\.\d+of\d+)?",
    method="|".join(map(re.escape, CONFIG.methods)),
    sweep=named(CONFIG.figures.sweeps),
    table=named(CONFIG.tables),


include: "rules/benchmark.smk"
include: "rules/backbones.smk"
include: "rules/tiers.smk"
include: "rules/knowledge.smk"
include: "rules/scope.smk"
include: "rules/editors.smk"
include: "rules/edits.smk"
include: "rules/tables.smk"
include: "rules/report.smk"
include: "rules/figures.smk"
include: "rules/retention.smk"
include: "rules/judge.smk"
include: "rules/parity.smk"


rule all:
    default_target: True
    input:
        expand("results/{table}.{kind}", table=CONFIG.tables, kind=["csv", "md"]),
        expand("results/{table}_{kind}.csv", table=CELL_TABLES, kind=["edits", "cost"]),
        expand("results/{table}_protocol.json", table=CONFIG.tables),
        "results/positive_control.md",
        FIGURES,
        ["results/qualitative.html"] * bool(ONE_STEP),
        "results/report.html",
        "results/diagnostics.csv",
        "results/scope.csv",
        "results/figures/scope.pdf",
        # A user's benchmark has no contact sheet.
        ["results/figures/contact_sheet.png"] * EMBEDDED,
        ["results/judge.csv", "results/judge.md"] * (CONFIG.judge.folder is not None),


# With `--software-deployment-method conda` (docs/environment.md). Written at each rule, it would be a hundred lines.
for each in workflow.modifier.rules:
    each.conda_env = f"{CHECKOUT}/environment.yml"


onsuccess:
    summarise_run("complete")


onerror:
    summarise_run("failed")
