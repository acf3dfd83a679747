"""Tasks on datasets: ingest files, profile columns, split rows."""

from pathlib import Path
from typing import ClassVar

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.ingest_options import DatasetContent, IngestOptions, SourceFile, SplitSpec, TablePreview
from nabla.engine.data.schema import Profile
from nabla.engine.extras import requires_extra
from nabla.engine.workers.tasks import OnProgress, Role, Task, TaskResult, WritingTask


class StoredDatasets(TaskResult, frozen=True):
    """The content of the dataset that was ingested, or of each split."""

    contents: tuple[DatasetContent, ...]


class IngestDataset(WritingTask[StoredDatasets], frozen=True):
    """Ingest files: store their content in an empty directory.

    Attributes:
        sources: The files.
        reading: How to read them.
        output_dir: The directory.
        check: Whether to verify the digests in the names of the files first.
    """

    MEMORY_ERROR: ClassVar[tuple[str, str]] = (
        "file",
        "Reading this takes more memory than is available; send less data at once, or in another format.",
    )

    sources: tuple[SourceFile, ...]
    reading: IngestOptions
    check: bool

    def run(self, on_progress: OnProgress) -> StoredDatasets:
        """Verify the files if asked to, and ingest them."""
        from nabla.engine.data.ingest.ingest import ingest_files

        if self.check:
            for source in self.sources:
                for path in source.paths:
                    durable_files.verify(path)
        return StoredDatasets((ingest_files(self.sources, self.reading, Path(self.output_dir), on_progress),))


class PreviewResult(TaskResult, frozen=True):
    """The preview of a table."""

    preview: TablePreview


class PreviewTable(WritingTask[PreviewResult], frozen=True):
    """Read a table, or its beginning, and discard it.

    Attributes:
        sources: The file.
        reading: How to read it.
        output_dir: An empty directory.
    """

    MEMORY_ERROR: ClassVar[tuple[str, str]] = (
        "file",
        "Reading this takes more memory than is available; send only its beginning.",
    )

    sources: tuple[SourceFile, ...]
    reading: IngestOptions

    def run(self, on_progress: OnProgress) -> PreviewResult:
        """Read the table."""
        with requires_extra("file", "Tables"):
            from nabla.engine.data.ingest.table_preview import preview_table

        return PreviewResult(preview_table(self.sources, self.reading, Path(self.output_dir), on_progress))


class ProfileResult(TaskResult, frozen=True):
    """The profile of a dataset."""

    profile: Profile


class ProfileDataset(Task[ProfileResult], frozen=True):
    """Compute the profile of a dataset that is stored in `dataset_dir`."""

    MEMORY_ERROR: ClassVar[tuple[str, str]] = ("file", "Profiling this dataset takes more memory than is available.")

    dataset: Dataset
    dataset_dir: str

    def run(self, on_progress: OnProgress) -> ProfileResult:
        """Profile all columns in one pass over the rows."""
        from nabla.engine.data.profiling import profile_dataset

        return ProfileResult(profile_dataset(self.dataset, Path(self.dataset_dir), on_progress))


class SplitDataset(Task[StoredDatasets], frozen=True):
    """Store each split of a dataset in an empty directory of its own.

    Attributes:
        dataset: The dataset to split.
        dataset_dir: Where it is stored.
        shares: Fraction of the rows and directory of each split.
        seed: Seed of the row order.
        stratified: Whether each split gets its share of every class.
    """

    MEMORY_ERROR: ClassVar[tuple[str, str]] = ("file", "Splitting this dataset takes more memory than is available.")

    dataset: Dataset
    dataset_dir: str
    shares: tuple[SplitSpec, ...]
    seed: int
    stratified: bool

    @property
    def output_dirs(self) -> tuple[Path, ...]:
        """Return the directory of each split."""
        return tuple(share.directory for share in self.shares)

    def run(self, on_progress: OnProgress) -> StoredDatasets:
        """Assign each row to a split, and store the splits."""
        from nabla.engine.data.splitting import split_dataset

        dataset_dir = Path(self.dataset_dir)
        return StoredDatasets(
            split_dataset(self.dataset, dataset_dir, self.shares, self.seed, self.stratified, on_progress)
        )


ROLES = {
    "ingest": Role(
        (IngestDataset, PreviewTable), ("nabla.engine.data.ingest.ingest", "nabla.engine.data.ingest.table_preview")
    ),
    "profile": Role((ProfileDataset, SplitDataset), ("nabla.engine.data.profiling", "nabla.engine.data.splitting")),
}
