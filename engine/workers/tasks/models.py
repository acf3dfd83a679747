"""Tasks that import a model file as a version of a network, and export a version as a file."""

from pathlib import Path
from typing import ClassVar

from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.data.schema import Classes, ColumnType
from nabla.engine.literals import NetworkFormat
from nabla.engine.model_io.bundle import ImportHints
from nabla.engine.nn.architecture import Architecture
from nabla.engine.workers.tasks import OnProgress, Role, Task, TaskResult


class ImportedModel(TaskResult, frozen=True):
    """The network in a model file.

    Attributes:
        format: Format of the file.
        file: Name of the weights file that was written.
        architecture: Architecture of the network.
        preprocessing: Its preprocessing configuration.
        classes: Its classes, if it has any.
        columns: Names and types of the columns that its preprocessor was fitted to; None for plain numbers.
    """

    format: NetworkFormat
    file: str
    architecture: Architecture
    preprocessing: PreprocessingConfig
    classes: Classes | None
    columns: tuple[tuple[str, ColumnType], ...] | None


class ImportModel(Task[ImportedModel], frozen=True):
    """Read a model file, and store its weights.

    Attributes:
        path: The model file.
        hints: Statements of the client about it.
        max_parameters: Maximum number of parameters.
        weights: Path of the weights file to write; its digest is added to the name.
    """

    MEMORY_ERROR: ClassVar[tuple[str, str]] = (
        "file",
        "Reading this network takes more memory than is available; of all formats, safetensors takes the least.",
    )

    path: str
    hints: ImportHints
    max_parameters: int
    weights: str

    @property
    def output_dirs(self) -> tuple[Path, ...]:
        """Return the directory of the weights."""
        return (Path(self.weights).parent,)

    def run(self, on_progress: OnProgress) -> ImportedModel:
        """Read the model, whatever its format, and store it as safetensors."""
        from nabla.engine.model_io import model_io

        format, model = model_io.import_model(Path(self.path), self.hints, self.max_parameters)
        columns = None
        if model.preprocessor is not None and model.preprocessor.columns is not None:
            columns = tuple((column.name, column.type) for column in model.preprocessor.columns)
        file = model_io.save_version(Path(self.weights), model).name
        return ImportedModel(format, file, model.network.architecture, model.preprocessing, model.classes, columns)


class ExportedModel(TaskResult, frozen=True):
    """The file has been written."""


class ExportModel(Task[ExportedModel], frozen=True):
    """Write a version of a network to a file.

    Attributes:
        weights: Weights file of the version.
        architecture: Architecture of the network.
        preprocessing: Its preprocessing configuration.
        classes: Classes of the version, if it has any.
        format: Format of the file.
        path: The file to write.
    """

    MEMORY_ERROR: ClassVar[tuple[str, str]] = (
        "format",
        "Writing this network takes more memory than is available; of all formats, safetensors takes the least.",
    )

    weights: str
    architecture: Architecture
    preprocessing: PreprocessingConfig
    classes: Classes | None
    format: NetworkFormat
    path: str

    def run(self, on_progress: OnProgress) -> ExportedModel:
        """Verify the weights, and write the file."""
        from nabla.engine.model_io import model_io

        model = model_io.load_version(Path(self.weights), self.architecture, self.preprocessing, self.classes)
        model_io.export_model(Path(self.path), model, self.format)
        return ExportedModel()


ROLES = {"model-io": Role((ImportModel, ExportModel), ("nabla.engine.model_io.model_io",))}
