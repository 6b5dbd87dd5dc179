"""The embedded benchmark as a data set: our own dialect reads the same cases from it, and so does `datasets`."""

import io
import subprocess
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.dialect import Source, find_dialect
from unike_lib.benchmark.images import image_names
from unike_lib.checksum import LIST
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.embedded.world.as_dataset import SPLITS, write_dataset
from unike_lib.embedded.world.benchmark import write_benchmark
from unike_lib.front.cli import main
from unike_lib.io import file_digest
from unike_lib.types import TASKS, InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmark") / "made"
    path.mkdir()
    write_benchmark(path, BenchmarkConfig(concepts=24), seed=3)
    return path


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "museum"
    assert main(["export", str(folder), "--to", str(out)]) == 0
    return out


def content(case, roots):
    """A case with its pictures by their bytes, and what each probe must do said."""
    digests = {name: file_digest(roots / name) for name in image_names([case])}

    def named(query):
        return replace(query, image=query.image and digests[query.image])

    probes = tuple(replace(p, query=named(p.query), must=p.aim) for p in case.probes)
    request = replace(case.request, image=digests[case.request.image])
    shown = tuple(sorted((digests[name], entity) for name, entity in case.shown))
    return replace(case, request=request, probes=probes, shown=shown)


def test_sha256sum_finds_every_file_as_it_was_written(written):
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", LIST], cwd=written, check=True)
    listed = {line.split("  ")[1] for line in (written / LIST).read_text().splitlines()}
    there = {str(file.relative_to(written)) for file in written.rglob("*") if file.is_file()}
    assert listed == there - {LIST} and any("/" in name for name in listed)


@pytest.mark.parametrize("task", TASKS)
def test_our_dialect_reads_the_same_cases(folder, written, task, tmp_path):
    """Requests, all kinds of probes with their styles, facts, and what pictures show; of every split."""
    kinds = set()
    for split, own in SPLITS.items():
        expected = read_cases(folder / f"{own}_{task}.json")
        part = {"train": "train", "eval": "eval"}.get(split)
        path = written / task if part else written / task / f"{split}-00000-of-00001.parquet"
        found = list(find_dialect("datasets").read(Source(path, task, part or "eval", tmp_path)))
        assert [content(case, tmp_path) for case in found] == [content(case, folder) for case in expected], split
        kinds |= {probe.kind for case in found for probe in case.probes}
        assert split not in ("dev", "eval") or any(case.shown for case in found)
    assert kinds >= {"rel", "t_gen", "m_gen", "t_loc", "m_loc", "t_gen_far"}
    assert ("identity" in kinds) == (task == "vqa")  # so small a benchmark has none of captions


def test_the_card_names_files_and_licences(folder, written):
    text = (written / "README.md").read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license"] == ["apache-2.0", "mit", "cc-by-4.0"]
    for config in header["configs"]:
        for each in config["data_files"]:
            (file,) = written.glob(each["path"])
            cases = read_cases(folder / f"{SPLITS[each['split']]}_{config['config_name']}.json")
            assert pq.read_metadata(file).num_rows == len(cases)
    for artist, licence in {"noto": "Apache-2.0", "fluent": "MIT", "twemoji": "CC-BY-4.0"}.items():
        assert any(f"`{artist}`" in line and licence in line for line in text.splitlines())


def test_a_picture_is_there_as_it_was(folder, written):
    row = pq.read_table(written / "vqa/eval-00000-of-00001.parquet").to_pylist()[0]
    case = read_cases(folder / "eval_vqa.json")[0]
    assert row["image"]["bytes"] == (folder / case.request.image).read_bytes()
    assert Image.open(io.BytesIO(row["rephrase_image"]["bytes"])).size == (256, 128)


@pytest.mark.parametrize("task", TASKS)
def test_datasets_itself_loads_it(folder, written, task, tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (the extra 'exports')")
    loaded = datasets.load_dataset(str(written), task, cache_dir=str(tmp_path))
    assert set(loaded) == set(SPLITS)
    expected = read_cases(folder / f"eval_{task}.json")
    assert loaded["eval"]["id"] == [case.request.id for case in expected]
    first = loaded["eval"][0]
    with Image.open(folder / expected[0].request.image) as own:
        assert first["image"].tobytes() == own.tobytes() and first["facts"] == list(expected[0].facts)


def test_another_folder_is_refused(folder, written, tmp_path):
    with pytest.raises(InputError, match=r"expected the embedded benchmark, found no scenes\.parquet"):
        write_dataset(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="expected a folder that is not there or empty"):
        write_dataset(folder, written)
