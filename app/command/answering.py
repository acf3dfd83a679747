"""Files that are there to be predicted, or measured by: uploaded as a network needs them, for as long as that takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.client import Client, Dataset, Network, NotFound
from app.schemas.versions import VersionView


@contextmanager
def uploaded(client: Client, file: Path, version: VersionView, **options: Any) -> Iterator[Dataset]:
    """Of a table the columns that the version has learned from, whatever others there are."""
    if version.preparation is not None and version.preparation.columns is not None:
        options = {"features": [column.name for column in version.preparation.columns], **options}
    dataset = client.upload(file, **options)
    try:
        yield dataset
    finally:
        dataset.delete()


def answers_of(client: Client, version: VersionView) -> dict[str, Any]:
    """The option that names what it has learned, as its job's dataset had it. Raises NotFound if nobody knows."""
    if version.job_id is None:
        raise NotFound(404, {"detail": "No job has trained it: say with --target or --label what to measure it by."})
    answers = client.dataset(client.job(version.job_id).view.dataset_id).view.answers or []
    return {"label": answers[0]} if version.classes else {"target": answers}


def version_asked(network: Network, version: int | str | None) -> VersionView:
    return network.published("current" if version is None else version)
