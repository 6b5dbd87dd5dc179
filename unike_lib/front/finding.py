"""Where a single edit finds what it needs: pictures, and what the workflow built."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unike_lib.backbones.load import load_processor
from unike_lib.backbones.visual import embed_images
from unike_lib.benchmark.cases import cases_folder
from unike_lib.benchmark.images import check_name, load_image, open_image
from unike_lib.config.backbones import BackboneConfig
from unike_lib.config.benchmark import PictureReading
from unike_lib.config.run import Config
from unike_lib.editing.building import EditorSources
from unike_lib.front.settings import STAGES
from unike_lib.method_files import files_of_method
from unike_lib.types import InputError


def evaluation_files(config: Config, backbone: str, results: Path) -> list[Path]:
    """Return the files of evaluation edits that a backbone is asked; those of all where no run asked it."""
    stages = results / STAGES
    for folder in (cases_folder(stages, backbone, config.benchmark.embedded), stages / "benchmark"):
        files = [Path(folder) / f"eval_{task}.json" for task in config.benchmark.tasks]
        if there := [file for file in files if file.is_file()]:
            return there
    return []


class Pictures:
    """Visual tokens [image, token, d] of pictures by name, each computed once, when it is first asked for.

    A name is a file, or a picture of the benchmark (below one of `roots`).
    """

    def __init__(self, folder: str, section: BackboneConfig, roots: Sequence[Path], reading: PictureReading) -> None:
        self._folder, self._section, self._roots, self._reading = folder, section, roots, reading
        self._known: dict[str, Tensor] = {}
        self._processor: Any = None
        self.model: Any = None

    def __call__(self, names: Sequence[str]) -> Tensor:
        """Return the visual tokens of pictures; raise InputError if one is missing or cannot be read."""
        for name in names:
            if name not in self._known:
                self._processor = self._processor or load_processor(self._folder, self._section)
                self._known[name] = embed_images(self.model, self._processor, [self.open(name)])[0]
        return torch.stack([self._known[name] for name in names])

    def open(self, name: str) -> Any:
        """Return a picture as RGB."""
        check_name(name)
        if Path(name).is_file() or not self._roots:
            return open_image(Path(name), self._reading)[0]
        return load_image(self._roots, name, self._reading)


def image_roots(config: Config, results: Path) -> list[Path]:
    """Return the folders that names of the benchmark's pictures start from."""
    if config.benchmark.embedded:
        return [results / STAGES / "benchmark"]
    return [results.parent / root for root in config.benchmark.image_roots]


class Built:
    """What the workflow built for the methods of a backbone, below a results folder.

    known: whether the configuration has the backbone, so that the workflow can build it.
    """

    def __init__(self, config: Config, backbone: str, results: Path, known: bool = True) -> None:
        self._config, self.backbone, self.results, self._known = config, backbone, results, known

    def files(self, method: str, overrides: Mapping[str, Any] | None = None) -> dict[str, list[Path]]:
        """Return the files that edits of a method variant read besides the backbone, by need."""
        benchmark, stages = self._config.benchmark, self.results / STAGES
        folder = Path(cases_folder(stages, self.backbone, benchmark.embedded))
        split = [folder / f"method_{task}.json" for task in benchmark.tasks]
        return files_of_method(self._config.methods, method, self.backbone, stages, split, overrides)

    def ready(self) -> list[str]:
        """Return the method variants all of whose files are there."""
        return [name for name in self._config.methods if not self._missing(self.files(name))]

    def sources(self, method: str, overrides: Mapping[str, Any] | None = None) -> EditorSources:
        """Return what an editor reads.

        Raises:
            InputError: some of it is not built; says what makes it, and which methods edit without.
        """
        files = self.files(method, overrides)
        if missing := self._missing(files):
            paths = " ".join(map(str, missing))
            how = (
                f"make them: make {paths}"
                if self._known
                else (
                    f"the workflow makes them ({paths}) once the folder stands in config.yaml (backbones.<name>.folder)"
                )
            )
            ready = ", ".join(name for name in self.ready() if name != "base")
            raise InputError(
                f"method {method!r} reads what is not built yet for {self.backbone} ({', '.join(files)}); {how}; "
                f"these edit as it is: {ready}"
            )
        knowledge = self.results / STAGES / "knowledge" / self.backbone
        questions = self._config.backbones[self.backbone].text_locality if self._known else None
        trained = files.get("trained", [None])[0]
        return EditorSources(knowledge, tuple(files.get("method_split", ())), questions, trained)

    def _missing(self, files: Mapping[str, Sequence[Path]]) -> list[Path]:
        return [path for paths in files.values() for path in paths if not path.is_file()]
