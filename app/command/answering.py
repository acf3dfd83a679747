"""Files that are there to be predicted, or measured by: uploaded as a network needs them, for as long as that takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any
from uuid import uuid4

from app.client import Client, Dataset, Network, NotFound
from app.schemas.versions import VersionView


@contextmanager
def uploaded(client: Client, file: Path, version: VersionView, **options: Any) -> Iterator[Dataset]:
    """Of a table the columns that the version has learned from, of the types that they had there, whatever others there
    are. By a name of its own: that of the file may stand for what was learned from it."""
    if version.preparation is not None and version.preparation.columns is not None:
        columns = version.preparation.columns
        known = {"features": [column.name for column in columns], "types": {one.name: one.type for one in columns}}
        options = {**known, **options}
    dataset = client.upload(file, name=f"asked-{uuid4().hex}", **options)
    try:
        yield dataset
    finally:
        # Also one that was asked for a moment before the command was interrupted, and of which it has not heard.
        for batch in takewhile(lambda one: one.view.created_at >= dataset.view.created_at, client.batch_predictions()):
            if batch.view.dataset_id == dataset.id:
                batch.delete()
        dataset.delete()


def answers_of(client: Client, version: VersionView) -> dict[str, Any]:
    """The option that names what it has learned, as its job's dataset had it. Raises NotFound if nobody knows."""
    answers = None
    if version.job_id is not None:
        answers = client.dataset(client.job(version.job_id).view.dataset_id).view.answers
    if not answers:
        unknown = "It has not learned from a table by a job: say with --target or --label what to measure it by."
        raise NotFound(404, {"detail": unknown})
    return {"label": answers[0]} if version.classes else {"target": answers}


def version_asked(network: Network, version: int | str | None) -> VersionView:
    return network.published("current" if version is None else version)
