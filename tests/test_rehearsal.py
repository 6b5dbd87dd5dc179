"""What a rehearsal reads: annotations, noise images and a checkpoint that the workflow's own readers take."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.images import image_names, load_image
from unike_lib.benchmark.missing import missing_images
from unike_lib.benchmark.prepare import prepare_user_benchmark
from unike_lib.benchmark.triplet_sources import read_triplet_source
from unike_lib.config.benchmark import MMEDIT_FILES, BenchmarkConfig

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared" / "mmedit"
spec = importlib.util.spec_from_file_location("rehearsal", ROOT / "tools" / "rehearsal.py")
rehearsal = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rehearsal)


@pytest.mark.parametrize("annotations", [None, REAL], ids=["look-alike", "real"])
def test_a_rehearsal_has_everything_that_the_workflow_reads(tmp_path, annotations):
    if annotations is not None and not annotations.is_dir():
        pytest.skip("the real MMEdit annotations are not here")
    rehearsal.prepare(tmp_path, annotations, tiny=True)
    config = BenchmarkConfig(
        annotations=str(tmp_path / "annotations"),
        images=str(tmp_path / "images"),
        triplet_sources=(str(tmp_path / "triplets.jsonl"),),
    )
    assert missing_images(config) == []
    prepare_user_benchmark(tmp_path / "out", config, rehearsal.SEED)
    for task in MMEDIT_FILES:
        for split, count in (*rehearsal.RECORDS.items(), ("eval", rehearsal.EVALUATED)):
            assert len(read_cases(tmp_path / "out" / f"{split}_{task}.json")) == count
    cases = read_cases(tmp_path / "out" / "eval_vqa.json")
    pictures = {load_image([tmp_path / "images"], name).tobytes() for name in image_names(cases)}
    assert len(pictures) == len(image_names(cases))
    assert len(read_triplet_source(tmp_path / "out" / "pool_sources.jsonl")) == rehearsal.SOURCES
    assert (tmp_path / "checkpoint" / "complete.json").is_file()


def test_costs_are_summed_by_stage(tmp_path):
    folder = tmp_path / "results" / "stages" / "benchmarks"
    for name, seconds, memory in (("visual/b/pool", 5.0, 2048), ("visual/b/dev", 7.0, 1024), ("benchmark", 1.0, 512)):
        path = folder / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"s": [seconds], "max_rss": [memory]}).to_csv(path, sep="\t", index=False)
    table = rehearsal.costs(tmp_path)
    assert list(table.index) == ["visual", "benchmark", "all"]
    assert table.loc["visual"].tolist() == [2, 12.0, 2.0] and table.loc["all"].tolist() == [3, 13.0, 2.0]
    with pytest.raises(SystemExit, match="no finished stage"):
        rehearsal.costs(tmp_path / "elsewhere")
