"""The configuration that a person has at hand, and where one of its backbones lies; without torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unike_lib.config.backbones import BackboneConfig
from unike_lib.config.run import Config, laid_over, load_config
from unike_lib.front.yaml_text import parse_yaml
from unike_lib.types import InputError

CONFIG = "config.yaml"
STAGES = "stages"
Overlay = Mapping[str, Any] | str | Path


def read_settings(overlays: Sequence[Overlay] = (), folder: Path = Path()) -> Config:
    """Return the configuration: a folder's config.yaml if it has one, else the default run, with others laid over it.

    Args:
        overlays: YAML files, as the workflow's `--configfile` takes them, or values.
        folder: where the workflow runs.

    Raises:
        InputError: a file is missing or no YAML, or a value is wrong.
    """
    own = [folder / CONFIG] * (folder / CONFIG).is_file()
    values: Any = {}
    for overlay in (*own, *overlays):
        values = laid_over(values, overlay if isinstance(overlay, Mapping) else _read_yaml(Path(overlay)))
    return load_config(values, " + ".join(str(each) for each in (*own, *overlays) if not isinstance(each, Mapping)))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8 ({error})") from None
    found = parse_yaml(text, str(path), "settings as in config.yaml")
    if not isinstance(found or {}, dict):
        raise InputError(f"{path}: expected a mapping of settings, found {type(found).__name__}")
    return found or {}


def folder_of(name: str, section: BackboneConfig, results: Path) -> str:
    """Return where a backbone of the configuration lies: a folder, or a hub id.

    Raises:
        InputError: the workflow makes it and has not yet.
    """
    if section.folder is None:
        folder = results / STAGES / "backbones" / name
        if not folder.is_dir():
            raise InputError(f"{folder}: backbone {name!r} is not built yet; build it: make {folder}")
        return str(folder)
    below = results.parent / section.folder
    return str(below) if below.is_dir() else section.folder
