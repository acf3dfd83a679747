"""`nabla predict`"""

import csv
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.client import BatchPrediction
from app.command.answering import uploaded, version_asked
from app.command.connecting import connected
from app.command.failures import Told
from app.command.options import DEFAULT_URL, File, Json, Local, Url, Version, version_of
from app.command.showing import note, say, show_json, show_json_rows

commands = typer.Typer(add_completion=False)
_FORMATS = {".csv": "csv", ".parquet": "parquet", ".arrow": "arrow", ".npy": "npy"}


@commands.command(cls=Told)
def predict(
    network: Annotated[str, typer.Argument(help="Id or name of a network.")],
    file: File,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", dir_okay=False, help="A file; else what is predicted goes to stdout.")
    ] = None,
    format: Annotated[
        Literal["csv", "parquet", "arrow", "npy"] | None, typer.Option(help="By default as --out says, else csv.")
    ] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Of each class.")] = False,
    version: Version = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Predict all rows of a file, in their order. It needs the columns that the network has learned from; others are
    left out."""
    kind = format or (_FORMATS.get(out.suffix.lower(), "csv") if out else "csv")
    if out is None and kind != "csv":
        raise typer.BadParameter(f"{kind} is for files: give --out.", param_hint="--format")
    with connected(url, local) as client:
        found = client.network(network)
        said = version_asked(found, version_of(version))
        with uploaded(client, file, said, unlabeled=True) as rows:
            fields = {"format": kind, "probabilities": probabilities, "version": said.version}
            _handed_out(found.predict_dataset(rows, **fields).wait(), out, json)


def _handed_out(batch: BatchPrediction, out: Path | None, json: bool) -> None:
    if out is not None:
        batch.download(out)
        if json:
            show_json(batch.view)
        else:
            say(f"{batch.view.rows:,} rows are predicted in {out}.")
        return
    with tempfile.TemporaryDirectory(prefix="nabla-") as folder:
        path = batch.download(Path(folder) / "predicted.csv")
        with path.open(newline="", encoding="utf-8") as text:
            if json:
                show_json_rows(_numbered(row) for row in csv.DictReader(text))
            else:
                shutil.copyfileobj(text, sys.stdout)
    note(f"{batch.view.rows:,} rows are predicted by version {batch.view.version}.")


def _numbered(row: dict[str, str]) -> dict[str, float | str]:
    return {name: value if name == "label" else float(value) for name, value in row.items()}
