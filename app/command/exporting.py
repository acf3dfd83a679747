"""`nabla export`"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.command.connecting import connected
from app.command.failures import Told
from app.command.options import DEFAULT_URL, Json, Local, Url, Version, version_of
from app.command.showing import say, show_json

commands = typer.Typer(add_completion=False)


@commands.command(cls=Told)
def export(
    network: Annotated[str, typer.Argument(help="Id or name of a network.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", dir_okay=False, help="By default its name, and the format.")
    ] = None,
    format: Annotated[
        Literal["safetensors", "npz", "onnx"] | None, typer.Option(help="By default as --out says, else safetensors.")
    ] = None,
    version: Version = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Copy a network out to a file, with its preparation and its classes."""
    with connected(url, local) as client:
        found = client.network(network)
        path = out or Path(f"{found.name or found.id}.{format or 'safetensors'}")
        number = version_of(version)
        said = found.published("current" if number is None else number)
        found.download(path, version=said.version, format=format)
    if json:
        show_json({"file": str(path), "version": said})
    else:
        say(f"Version {said.version} of {found.name or found.id} is in {path}.")
