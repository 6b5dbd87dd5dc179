# Functions of single rule files. Snakemake's linter wants them apart from rules; what several files use is in common.smk.


def features_to_train_on(section):
    """The tower's features, where weights are always trained; else a job that has to train computes them itself."""
    return [] if getattr(CONFIG, section).shipped else rules.tower_features.output.features


def asked_cases(split, tasks=TASKS):
    """The files of the edits that a backbone is asked, by task: of the evaluation, those with tiers."""
    folder = f"{STAGES}/tiers/{{backbone}}" if TIERS and split == "eval" else ASKABLE
    return cases_of(split, tasks, folder)


def cases_of_job(wildcards):
    """The same of the job's split, for the tasks in its name, or all."""
    tasks = tasks_of(wildcards.task) if "task" in wildcards.keys() else TASKS
    return [file.format(**wildcards) for file in asked_cases(wildcards.split, tasks)]


def counts_of_texts(wildcards):
    """How many of the user's edits the backbones in the job's table cannot be asked."""
    backbones = [name for table in cells_behind(wildcards) for name in CONFIG.tables[table].backbones]
    return [] if EMBEDDED else of_each_backbone("texts/{backbone}/counts.json", dict.fromkeys(backbones))


def counts_of_tiers(wildcards):
    """How many probes of each tier were found for the backbones in the job's table."""
    backbones = [name for table in cells_behind(wildcards) for name in CONFIG.tables[table].backbones]
    return of_each_backbone("tiers/{backbone}/eval.csv", dict.fromkeys(backbones)) if TIERS else []


def searched_edits(wildcards):
    """Of how many edits of the split tiers are searched: of the pool, those that set the semantic scope's thresholds."""
    return CONFIG.knowledge.scope.edits if wildcards.split == "pool" else edits_of_split(wildcards)


def probed_edits(wildcards):
    """Of how many edits of the split the pictures of all probes are seen; of the pool's others, their own picture alone."""
    return searched_edits(wildcards) if wildcards.split == "pool" else pictured_edits(wildcards)


def scope_states_of(split):
    """The file of the states of a split's questions."""
    return f"{STAGES}/scope/{{backbone}}/{split}.safetensors"


def table_files(name, caption):
    """The files of a table: one per criterion, one of differences, one for papers, and one to read; side by side in Snakemake's report."""
    place = {"caption": caption, "category": "Tables", "subcategory": name}
    files = {
        criterion: report(f"results/{name}{ending}.csv", labels={"criterion": criterion, "file": "CSV"}, **place)
        for criterion, ending in ENDINGS.items()
    }
    labels = {"criterion": "both", "file": "UniKE minus others"}
    files["differences"] = report(f"results/{name}_differences.csv", labels=labels, **place)
    files["latex"] = report(f"results/{name}.tex", labels={"criterion": "token, generated", "file": "LaTeX"}, **place)
    return files | {"markdown": report(f"results/{name}.md", labels={"criterion": "all", "file": "Markdown"}, **place)}


def edit_files(kind):
    """An input function: this file of edits of the job's table, if that has cells."""
    return lambda wildcards: [f"results/{wildcards.table}_{kind}.csv"] * (wildcards.table in CELL_TABLES)


def retention_files(ending):
    """A file of each backbone and method whose retention is measured."""
    return expand(f"{STAGES}/retention/{{backbone}}/{{method}}{ending}.parquet", backbone=RETAINING, method=RETAINED)


def judge_folder():
    """The judge as an input: the folder that a rule makes, or the user's, of which `files` says what it looks like."""
    folder = CONFIG.judge.folder
    if folder.startswith(f"{STAGES}/"):
        return folder
    return ancient(folder)


def judged_backbones(wildcards):
    """The backbones of the job's table, once for each of its tasks' files, with what is asked without a picture."""
    rows = CONFIG.tables[wildcards.table]
    tasks = dict.fromkeys(task for name, _ in rows.settings for task in tasks_of(name))
    return [
        (backbone, CONFIG.backbones[backbone].text_locality, file.format(backbone=backbone))
        for backbone in rows.backbones
        for file in asked_cases("eval", tasks)
    ]
