"""What a user's YAML cannot be is said in one line: the file, the line, the library's reason at the end."""

from types import SimpleNamespace

import pytest

from unike_lib.config.backbones import BackboneConfig
from unike_lib.front.cli import main
from unike_lib.front.model_card import licence_of
from unike_lib.front.settings import read_settings
from unike_lib.front.yaml_text import check_keys, parse_yaml
from unike_lib.types import InputError

# Of the last ones the parser has no line: their constructors fail.
WRONG = {
    "backbones: {a: b\nmethods: {}\n": r"line 2: expected ',' or '}', but got ':'",
    "a: [1, 2\n": r"line 2: expected ',' or ']', but got",
    "a: !!python/object:os.system x\n": r"line 1: could not determine a constructor for the tag",
    "a: 2020-13-45\n": "month must be in 1..12",
    "a: 0x_\n": "invalid literal for int",
    "a: !!int ''\n": "string index out of range",
    "a: " + "[" * 2000: "maximum recursion depth exceeded",
    "a: \x00\n": "unacceptable character",
}


@pytest.mark.parametrize(("text", "said"), WRONG.items(), ids=range(len(WRONG)))
def test_what_is_no_yaml_is_said_in_one_line(tmp_path, capsys, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    expected = rf"not valid YAML; expected settings as in config\.yaml \([^\n]*{said}[^\n]*\)$"
    with pytest.raises(InputError, match=rf"^[^\n]*mine\.yaml: {expected}"):
        read_settings([path], tmp_path)
    value = text.partition(": ")[2]
    given = ["edit", "--backbone", "x", "--image", "a.png", "--question", "what?", "--answer", "owl"]
    if "line 2" not in said:
        assert main([*given, "--set", f"steps={value}"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("unike: --set steps: not valid YAML; expected a value")
    (tmp_path / "README.md").write_text(f"---\n{text}---\n")
    section = BackboneConfig(family="llava", folder=str(tmp_path))
    nobody_says = {"license": "other", "license_name": "as-the-base"}
    assert licence_of(SimpleNamespace(section=section, folder=str(tmp_path))) == nobody_says


def test_what_is_no_text_is_said(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(InputError, match=r"mine\.yaml: not UTF-8 text; save it as UTF-8 \("):
        read_settings([tmp_path / "mine.yaml"], tmp_path)


TWICE = {
    "seed: 1\nthreads: 2\nseed: 2\n": "line 3: key 'seed': there already in line 1; expected each key once",
    "a:\n  - {b: 1, b: 2}\n": "line 2: key 'b': there already in line 2; expected each key once",
    "a: 1\n'a': 2\n": "line 2: key 'a': there already in line 1; expected each key once",
    '{"x": {"y": 1,\n "y": 1}}': "line 2: key 'y': there already in line 1; expected each key once",
}


@pytest.mark.parametrize(("text", "said"), TWICE.items(), ids=range(len(TWICE)))
def test_a_key_twice_is_refused_by_its_lines(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_settings([path], tmp_path)
    assert str(error.value) == f"{path}: {said}"
    with pytest.raises(InputError, match=r"^mine\.yaml: .*expected each key once$"):
        check_keys(path, "mine.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &x {b: 1}\nc: {<<: *x, b: 2}\nd: *x\n", {"a": {"b": 1}, "c": {"b": 2}, "d": {"b": 1}}),
        ("a: 1\n'1': 2\n1: 3\n", {"a": 1, "1": 2, 1: 3}),
        ("a: {x: 1}\nb: {x: 1}\n", {"a": {"x": 1}, "b": {"x": 1}}),
        ("", None),
    ],
)
def test_keys_of_other_mappings_are_no_repetition(tmp_path, text, value):
    """A merged key may be said anew; a text is another key than a number."""
    (tmp_path / "mine.yaml").write_text(text)
    check_keys(tmp_path / "mine.yaml", "mine.yaml")
    assert parse_yaml(text, "mine.yaml", "settings") == value
