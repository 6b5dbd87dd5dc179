"""From a name or a folder to a model that can be edited by hand; a wrong folder is refused before torch is imported.

Example:
    >>> model = load("minigpt4-smol")                                                   # doctest: +SKIP
    >>> edit = model.edit(image="photo.jpg", question="What animal is this?", answer="lynx")  # doctest: +SKIP
    >>> edit.answers()[0].after                                                          # doctest: +SKIP
    'lynx'
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unike_lib.backbones.folder_config import first_look
from unike_lib.config.backbones import BackboneConfig
from unike_lib.front.family_guess import fitting_families, guess_family
from unike_lib.front.settings import Overlay, folder_of, read_settings
from unike_lib.types import InputError

if TYPE_CHECKING:
    from unike_lib.front.model import Model


def load(
    backbone: str | Path,
    *,
    family: str | None = None,
    results: str | Path = "results",
    config: Overlay | Sequence[Overlay] = (),
    **fields: Any,
) -> "Model":
    """Return a backbone that can be edited by hand.

    Args:
        backbone: a name in the configuration, or a model's folder or hub id.
        family: of a folder: its layout; None: as its config.json and tokenizer say.
        results: what the workflow built; methods that read more than the model find it there.
        config: YAML files or values over the configuration.
        fields: other fields of the backbone (device, dtype, layers, vqa_prompt ...).

    Raises:
        InputError: no such backbone, it is not built yet, or it cannot be edited; says why.
    """
    overlays = [config] if isinstance(config, str | Path | Mapping) else list(config)
    results, name = Path(results), str(backbone)
    settings = read_settings(overlays, results.parent)
    section = settings.backbones.get(name)
    if section is None and not Path(name).exists() and "/" not in name:
        raise InputError(f"{name}: no backbone of the configuration ({', '.join(settings.backbones)}), and no folder")
    folder = name if section is None else folder_of(name, section, results)
    given = family or (section.family if section else None)
    first_look(folder, given or fitting_families(folder)[0][0].name, pictures=False)
    if section is None:
        section = BackboneConfig(family=family or guess_family(folder).family, folder=folder)
    section = _with_fields(section, {**fields, **({"family": family} if family else {})})

    from unike_lib.front.finding import Built
    from unike_lib.front.model import open_model

    return open_model(folder, section, settings, Built(settings, name, results, name in settings.backbones))


def _with_fields(section: BackboneConfig, fields: Mapping[str, Any]) -> BackboneConfig:
    try:
        return BackboneConfig.model_validate(section.model_dump() | dict(fields))
    except ValueError as error:
        raise InputError(f"backbone: {error}") from None
