"""What a user's YAML cannot be is said in one line: the file, the line, the library's reason at the end."""

from types import SimpleNamespace

import pytest

from unike_lib.config.backbones import BackboneConfig
from unike_lib.front.cli import main
from unike_lib.front.model_card import licence_of
from unike_lib.front.settings import read_settings
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
