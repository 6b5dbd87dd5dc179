"""What the code must not do: run code out of files, or use a network outside the rule that downloads the wheel."""

import ast
import re
import socket
from pathlib import Path

import pytest
from mmedit_records import cases_of, record
from PIL import Image
from tiny_models import tiny_images, tiny_model, tiny_tokenizer

from unike_lib.backbones.load import load_backbone
from unike_lib.benchmark.formats.mmedit import DIALECT
from unike_lib.benchmark.images import image_path, load_image
from unike_lib.benchmark.missing import images_of_case, require_images
from unike_lib.code_digest import imported_names
from unike_lib.config.backbones import BackboneConfig
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.types import InputError

ROOT = Path(__file__).parents[1]
FOLDERS = ("unike_lib", "workflow_scripts", "tools", "bench")
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
# Modules that run code out of a file, and modules that open connections.
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
NETWORK = {
    *("socket", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "ftplib", "smtplib"),
    *("telnetlib", "xmlrpc", "websocket", "websockets", "paramiko", "huggingface_hub", "datasets", "boto3"),
}
NAMES = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
SWITCHES = {"trust_remote_code", "allow_pickle"}
CALLED = {"read_pickle", "to_pickle", "hf_hub_download", "snapshot_download", "load_url"}
DOWNLOADS = "unike_lib/embedded/training/smol_wheel.py"
# pip; nvidia-smi; and the benchmarks, which start Python.
STARTS_PROGRAMS = {
    DOWNLOADS,
    "unike_lib/gpu_slot.py",
    "bench/pipeline.py",
    "bench/start_up.py",
    "tools/run_examples.py",
}
# Reads pickles that can name nothing: see the test below, and what tests/backbones/test_torch_heads.py tries on it.
READS_PICKLES = "unike_lib/backbones/torch_heads.py"


def faults(text):
    """Return what a Python text does that it must not."""
    found = []
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names = [name for name in names if name != "urllib.parse"]  # opens no connection
        found += [f"imports {name}" for name in names if name.split(".")[0] in UNSAFE | NETWORK | {"subprocess"}]
        if isinstance(node, ast.Dict):  # what is passed on as **settings
            pairs = [
                (ast.unparse(key).strip("'\""), value) for key, value in zip(node.keys, node.values, strict=True) if key
            ]
            switched = [name for name, value in pairs if name in SWITCHES and ast.unparse(value) != "False"]
            found += [f"passes {name}" for name in switched]
        if isinstance(node, ast.Call):
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            found += faults_of_call(ast.unparse(node.func), given)
    return found


def faults_of_call(called, given):
    """Return what a call does that it must not: the name called, and the words given."""
    found = []
    if called in NAMES or called.split(".")[-1] in CALLED:
        found.append(f"calls {called}")
    if called == "torch.load" and given.get("weights_only") != "True":
        found.append("calls torch.load without weights_only=True")
    found += [f"passes {name}" for name in ("trust_remote_code", "allow_pickle") if name in given]
    if given.get("shell", "False") != "False":
        found.append("passes shell")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_file_runs_code_from_data_or_opens_a_connection(file):
    name = file.relative_to(ROOT).as_posix()
    allowed = {"imports subprocess"} if name in STARTS_PROGRAMS else set()
    allowed |= {"imports pickle"} if name == READS_PICKLES else set()
    assert set(faults(file.read_text())) <= allowed


def test_the_one_reader_of_pickles_looks_up_no_name():
    """Only a class of its own reads, and what a name gives is made there, whatever the name."""
    tree = ast.parse((ROOT / READS_PICKLES).read_text())
    used = [
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle"
    ]
    (reader,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "pickle.Unpickler" for base in node.bases)
    ]
    (finds,) = [node for node in reader.body if isinstance(node, ast.FunctionDef) and node.name == "find_class"]
    assert used == ["Unpickler"] and ast.unparse(finds.body[-1]) == "return _StandIn(name)" and len(finds.body) == 2
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Call) and "import" in ast.unparse(node.func)]


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import urllib.request",
        "def f():\n    from requests import get",
        "import subprocess",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
        "settings = {'trust_remote_code': True}",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "os.system('x')",
        "yaml.load(text)",
        "run(x, shell=True)",
        "pd.read_pickle(path)",
        "torch.hub.load_url(x)",
    ],
)
def test_the_search_finds_what_it_looks_for(text):
    assert len(faults(text)) == 1


def test_what_is_allowed_is_not_found():
    assert faults("torch.load(path, weights_only=True)\nmodel.eval()\nyaml.safe_load(text)\nimport json") == []


def test_one_rule_alone_downloads():
    wanted = ".".join(Path(DOWNLOADS).with_suffix("").parts)
    users = [file.name for file in FILES if any(name.startswith(wanted) for name in imported_names(file))]
    assert users == ["fetch_smollm.py"]


def test_a_backbone_in_a_folder_needs_no_network(tmp_path, monkeypatch):
    tiny_model("blip2").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    called = []

    def refuse(*address, **_):
        called.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_backbone(tmp_path, BackboneConfig(family="blip2"), tiny_images)
    assert called == []


def test_every_dependency_has_one_version():
    lock = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert lock and all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lock)


def case_naming(folder, root, name, field="image"):
    images = dict.fromkeys(("image", "image_rephrase", "m_loc"), "in.png")
    (case,) = cases_of([record(**images | {field: name})])
    config = BenchmarkConfig(annotations=str(folder), images=str(root))
    return case, "eval_vqa.json", config, DIALECT.pictures


@pytest.mark.parametrize("field", ["image", "image_rephrase", "m_loc"])
@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "{outside}", "link.png", "links/out.png"])
def test_images_cannot_lie_outside_the_image_folder(tmp_path, field, name):
    root, outside = tmp_path / "images", tmp_path / "out.png"
    root.mkdir()
    for file in (outside, root / "in.png"):
        Image.new("RGB", (2, 2)).save(file)
    (root / "link.png").symlink_to(outside)
    (root / "links").symlink_to(tmp_path)
    name = name.format(outside=outside)
    for refused in (
        lambda: images_of_case(*case_naming(tmp_path, root, name, field)),
        lambda: load_image([root], name),
        lambda: image_path([root], name),
    ):
        with pytest.raises(InputError, match="leads out of the image folder"):
            refused()


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 300 + ".png", "y/" * 3000 + "z.png", "loop/a.png"])
def test_names_that_no_file_can_have_are_one_error(tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="image"):
        require_images(images_of_case(*case_naming(tmp_path, tmp_path, name)))
    with pytest.raises(InputError, match="image"):
        load_image([tmp_path], name)
