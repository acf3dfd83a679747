"""`nabla network`"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nabla.app.cli.main import ListedByDefault
from nabla.app.cli.options import DEFAULT_URL, Json, Limit, Local, Told, Url, Version, sizes, version_of
from nabla.app.cli.output import say, show_deleted, show_json, show_list, show_table
from nabla.app.cli.service import connected
from nabla.app.client import Client, Network
from nabla.app.client.defaults import HIDDEN, network_for
from nabla.app.schemas.networks import NetworkView

network_commands = typer.Typer(cls=ListedByDefault, add_completion=False)
Reference = Annotated[str, typer.Argument(metavar="NETWORK", help="Id or name of a network.")]
_DEFAULT_HIDDEN = ",".join(map(str, HIDDEN))


@network_commands.callback()
def network() -> None:
    """Create, list, show or delete networks."""


@network_commands.command(cls=Told)
def create(
    name: Annotated[str | None, typer.Argument(help="To find it by.")] = None,
    dataset: Annotated[str | None, typer.Option("--for", help="A dataset: inputs, output and cost suit it.")] = None,
    hidden: Annotated[str, typer.Option(help="With --for: sizes of the hidden layers.")] = _DEFAULT_HIDDEN,
    inputs: Annotated[int | None, typer.Option(help="With --layers: how many numbers a row has.")] = None,
    layers: Annotated[str | None, typer.Option(help="Sizes and activations: 8:tanh,1:sigmoid.")] = None,
    cost: Annotated[str | None, typer.Option(help="With --layers; quadratic by default.")] = None,
    file: Annotated[Path | None, typer.Option(exists=True, help="A network in a file: safetensors, npz, ONNX.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same weights.")] = 0,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Create a network: one that suits a dataset (--for), of given layers (--layers), or from a file (--file)."""
    if sum(one is not None for one in (dataset, layers, file)) != 1:
        raise typer.BadParameter("Give one of --for, --layers and --file.")
    if layers is not None and inputs is None:
        raise typer.BadParameter("--layers needs --inputs.")
    named: dict[str, Any] = {"name": name} if name else {}
    with connected(url, local) as client:
        if file is not None:
            made = client.import_network(file, **named)
        elif dataset is not None:
            made = _suiting(client, dataset, sizes(hidden), seed=seed, **named)
        else:
            costs = {"cost": cost} if cost else {}
            made = client.create_network(inputs=inputs, layers=_layers(layers or ""), seed=seed, **costs, **named)
    if json:
        show_json(made.view)
    else:
        say(_sentence(made))


def _suiting(client: Client, dataset: str, hidden: list[int], **fields: Any) -> Network:
    return client.create_network(**network_for(client.dataset(dataset).view, hidden), **fields)


def _layers(given: str) -> list[dict[str, Any]]:
    found = []
    for part in given.split(","):
        units, _, activation = part.strip().partition(":")
        if not units.isdigit():
            raise typer.BadParameter("Layers are sizes and activations: 8:tanh,1:sigmoid.", param_hint="--layers")
        found.append({"units": int(units), **({"activation": activation} if activation else {})})
    return found


def _sentence(network: Network) -> str:
    view = network.view
    named = f" {view.name}" if view.name else ""
    shape = " → ".join(map(str, (view.inputs, *(layer.units for layer in view.layers))))
    return f"{view.id}{named}: {shape}, {view.parameters:,} parameters, cost {view.cost}."


@network_commands.command("list", cls=Told)
def list_networks(url: Url = DEFAULT_URL, local: Local = False, json: Json = False, limit: Limit = 20) -> None:
    """List networks, newest first."""
    with connected(url, local) as client:
        show_list(client.networks(), limit, json, ("id", "name", "shape", "layers", "parameters", "version"), _row)


def _row(view: NetworkView) -> tuple[object, ...]:
    shape = f"{view.inputs} → {view.outputs}"
    return view.id, view.name, shape, len(view.layers), view.parameters, view.version


@network_commands.command(cls=Told)
def show(network: Reference, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Show the layers of a network, and its tags."""
    with connected(url, local) as client:
        found = client.network(network)
    if json:
        show_json(found.view)
        return
    view = found.view
    say(_sentence(found))
    rows = [
        (number, layer.units, layer.activation, layer.dropout or None) for number, layer in enumerate(view.layers, 1)
    ]
    show_table(("layer", "units", "activation", "dropout"), rows)
    tags = "".join(f", {tag} is {number}" for tag, number in view.tags.items())
    say(f"version {view.version} predicts{tags}")


@network_commands.command(cls=Told)
def delete(network: Reference, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Delete a network with all its versions; refused while a job needs it."""
    with connected(url, local) as client:
        found = client.network(network)
        found.delete()
    show_deleted(found, json)


export_commands = typer.Typer(add_completion=False)


@export_commands.command(cls=Told)
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
    """Copy a network out to a file, with its preprocessing and its classes."""
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
