"""Tasks of predictions: predict a whole dataset, decode Arrow tables in requests, and encode those in responses."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.export import ArrowIpcFormat
from nabla.engine.data.ingest_options import Progress, SourceFile
from nabla.engine.data.input_warnings import InputWarnings
from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.data.schema import Classes, Column
from nabla.engine.extras import requires_extra
from nabla.engine.literals import FileFormat
from nabla.engine.nn.architecture import Architecture
from nabla.engine.workers.tasks import OnProgress, Role, TaskResult, WritingTask


class PredictionFile(TaskResult, frozen=True):
    """Name and size of the file of predictions, and sentences about unusual rows."""

    file: str
    bytes: int
    warnings: tuple[str, ...] = ()


class PredictDataset(WritingTask[PredictionFile], frozen=True):
    """Predict all rows of a dataset into a file.

    Attributes:
        dataset: The dataset, stored in `dataset_dir`.
        dataset_dir: Directory of the dataset.
        architecture: Architecture of the network.
        weights: Weights file of the version.
        preprocessing: Preprocessing configuration, for a version without a fitted preprocessor.
        classes: Classes of the version, if it has any.
        format: Format of the file.
        probabilities: Whether to write the probabilities of the classes.
        output_dir: Empty directory for the file.
    """

    MEMORY_ERROR: ClassVar[tuple[str, str]] = (
        "dataset_id",
        "Predicting this dataset takes more memory than batch predictions may use.",
    )

    dataset: Dataset
    dataset_dir: str
    architecture: Architecture
    weights: str
    preprocessing: PreprocessingConfig
    classes: Classes | None
    format: FileFormat
    probabilities: bool

    def run(self, on_progress: OnProgress) -> PredictionFile:
        """Load the version, and predict block by block."""
        from nabla.engine.data.loading import open_features
        from nabla.engine.training.batch_inference import predict_to_file
        from nabla.engine.training.checkpoint import load_weights
        from nabla.engine.training.model import Model

        total = self.dataset.rows

        def report(rows: int) -> None:
            on_progress(Progress(rows, total, rows))

        report(0)
        network, fitted = load_weights(Path(self.weights), self.architecture)
        model = Model(network, fitted or Preprocessor.identity(self.preprocessing))
        columns = model.preprocessor.columns
        features = open_features(self.dataset, Path(self.dataset_dir), columns, lambda: report(0))
        warnings = InputWarnings()
        warnings.add_unused(model.preprocessor.list_unused(self.dataset.features))
        path = predict_to_file(
            model, features, self.classes, self.format, self.probabilities, Path(self.output_dir), report, warnings
        )
        return PredictionFile(path.name, path.stat().st_size, tuple(warnings.sentences()))


class DecodedArrow(TaskResult, frozen=True):
    """A file of raw rows: float64 (rows, columns), row by row; and columns of the table that are not among these."""

    file: str
    rows: int
    unused_columns: tuple[str, ...]


class DecodeArrow(WritingTask[DecodedArrow], frozen=True):
    """Decode an Arrow table of rows to predict into a file of raw rows.

    Attributes:
        path: File with the Arrow table.
        columns: Columns that the version was trained on; None for plain numbers.
        inputs: Inputs of the network.
        max_rows: Maximum number of rows.
        max_bytes: Maximum size of the table once decompressed, and of the file that is written.
        output_dir: Directory for that file.
    """

    MEMORY_ERROR: ClassVar[tuple[str, str]] = (
        "body",
        "Reading this table takes more memory than is available; send fewer rows at once.",
    )

    path: str
    columns: tuple[Column, ...] | None
    inputs: int
    max_rows: int
    max_bytes: int

    def run(self, on_progress: OnProgress) -> DecodedArrow:
        """Check the table against the columns, and write its rows."""
        with requires_extra("body", "Arrow tables"):
            from nabla.engine.data.ingest.prediction_rows import write_prediction_rows
        from nabla.engine.data.ingest_options import ProgressTracker

        path = Path(self.path)
        tracker = ProgressTracker((SourceFile((path,)),), self.max_bytes, on_progress)
        unused: set[str] = set()

        def write(sink: durable_files.Sink) -> None:
            unused.update(write_prediction_rows(path, self.columns, self.inputs, self.max_rows, sink, tracker))

        file = durable_files.write_temporary(Path(self.output_dir), write)
        return DecodedArrow(file.name, tracker.rows, tuple(sorted(unused)))


class EncodedArrow(TaskResult, frozen=True):
    """Name of the file with the Arrow table."""

    file: str


class EncodeArrow(WritingTask[EncodedArrow], frozen=True):
    """Encode predictions as an Arrow table.

    Attributes:
        outputs: .npy file with the outputs of the network.
        classes: Classes of the version, if it has any.
        probabilities: Whether to add the probabilities of the classes.
        top_k: How many of the likeliest classes to add, if any.
        ipc_format: Which Arrow format to write.
        output_dir: Directory for the file.
    """

    MEMORY_ERROR: ClassVar[tuple[str, str]] = (
        "body",
        "Writing this table takes more memory than is available; send fewer rows at once, or ask for JSON.",
    )

    outputs: str
    classes: Classes | None
    probabilities: bool
    top_k: int | None
    ipc_format: ArrowIpcFormat

    def run(self, on_progress: OnProgress) -> EncodedArrow:
        """Map the outputs, and write the table block by block."""
        from nabla.engine.training.batch_inference import write_arrow_predictions

        outputs = np.load(self.outputs, mmap_mode="r")
        file = write_arrow_predictions(
            outputs,
            self.classes,
            self.probabilities,
            self.top_k,
            self.ipc_format,
            Path(self.output_dir),
            lambda rows: on_progress(Progress(rows, len(outputs), rows)),
        )
        return EncodedArrow(file.name)


ROLES = {
    "predict": Role(
        (PredictDataset,),
        (
            "nabla.engine.data.loading",
            "nabla.engine.training.batch_inference",
            "nabla.engine.training.checkpoint",
            "nabla.engine.training.model",
        ),
    ),
    "arrow": Role(
        (DecodeArrow, EncodeArrow),
        (
            "nabla.engine.data.ingest.prediction_rows",
            "nabla.engine.data.ingest_options",
            "nabla.engine.training.batch_inference",
        ),
    ),
}
