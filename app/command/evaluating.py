"""`nabla evaluate`"""

from pathlib import Path
from typing import Annotated

import typer

from app.command.answering import answers_of, uploaded, version_asked
from app.command.connecting import connected
from app.command.failures import Told
from app.command.options import DEFAULT_URL, Json, Label, Local, Missing, Target, Url, Version, version_of
from app.command.showing import say, show_json, show_table
from app.schemas.evaluations import EvaluationView

commands = typer.Typer(add_completion=False)


@commands.command(cls=Told)
def evaluate(
    network: Annotated[str, typer.Argument(help="Id or name of a network.")],
    dataset: Annotated[str, typer.Argument(help="Id or name of a dataset; or a file, with answers.")],
    target: Target = None,
    label: Label = None,
    missing: Missing = None,
    version: Version = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Measure a network on a dataset or a file: its cost, and accuracy or R²."""
    path = Path(dataset)
    with connected(url, local) as client:
        found = client.network(network)
        if path.is_file():
            said = version_asked(found, version_of(version))
            asked = {"target": target} if target else {"label": label} if label else answers_of(client, said)
            filled = {"missing": missing} if missing else {}
            with uploaded(client, path, said, classes=said.classes, **asked, **filled) as rows:
                measured = found.evaluate(rows, said.version)
        else:
            measured = found.evaluate(dataset, version_of(version))
    if json:
        show_json(measured)
        return
    say(sentence(measured) + f" Cost {measured.cost:.4g}.")
    if measured.classes:
        rows_of = [
            (one.label, one.support, f"{one.precision:.4f}", f"{one.recall:.4f}", f"{one.f1:.4f}")
            for one in measured.classes
        ]
        show_table(("class", "rows", "precision", "recall", "f1"), rows_of)


def sentence(measured: EvaluationView, rows: str = "rows") -> str:
    """What matters most."""
    if measured.classes is not None:
        return f"Accuracy on {measured.rows:,} {rows}: {measured.accuracy:.4f}."
    r2 = "none, as all targets are the same" if measured.r2 is None else f"{measured.r2:.4f}"
    return f"R² on {measured.rows:,} {rows}: {r2}; mean absolute error {measured.mae:.4g}."
