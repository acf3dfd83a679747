"""`nabla networks` and `nabla export`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nabla.app.cli.options import (
    DEFAULT_URL,
    DEFAULT_VERSION,
    CliCommand,
    Hidden,
    Json,
    Limit,
    ListByDefaultGroup,
    Local,
    NetworkArgument,
    Url,
    Version,
    Yes,
    infer_format,
    parse_hidden,
    parse_version,
)
from nabla.app.cli.output import confirm_deletion, echo, print_deleted, print_json, print_list, print_table
from nabla.app.cli.service import open_client
from nabla.app.client.request_encoding import NETWORK_FORMATS
from nabla.app.schemas.networks import NetworkView

networks_app = typer.Typer(cls=ListByDefaultGroup, add_completion=False)
export_app = typer.Typer(add_completion=False)


@networks_app.callback()
def networks() -> None:
    """Create, list, show or delete networks."""


@networks_app.command(cls=CliCommand)
def create(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the network.")] = None,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="DATASET", help="Id or name of a dataset that determines inputs, outputs and cost."),
    ] = None,
    hidden: Hidden = None,
    layers: Annotated[
        str | None, typer.Option(help="Units and activation of each layer: 8:tanh,1:sigmoid. Needs --inputs.")
    ] = None,
    inputs: Annotated[int | None, typer.Option(help="With --layers: number of inputs.")] = None,
    cost: Annotated[str | None, typer.Option(help="With --layers: cost (loss) function. Default: quadratic.")] = None,
    file: Annotated[Path | None, typer.Option(exists=True, help="safetensors, npz or ONNX file to import.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights.")] = 0,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Create a network for a dataset (--dataset), from its layers (--layers), or from a file (--file)."""
    if sum(source is not None for source in (dataset, layers, file)) != 1:
        raise typer.BadParameter("Give exactly one of --dataset, --layers and --file.")
    if layers is not None and inputs is None:
        raise typer.BadParameter("--layers requires --inputs.")
    fields: dict[str, Any] = {"name": name} if name else {}
    with open_client(url, local) as client:
        if file is not None:
            network = client.import_network(file, **fields)
        elif dataset is not None:
            fields |= client.get_dataset(dataset).propose(hidden_units=parse_hidden(hidden)).network
            network = client.create_network(seed=seed, **fields)
        else:
            fields |= {"cost": cost} if cost else {}
            network = client.create_network(inputs=inputs, layers=_parse_layers(layers or ""), seed=seed, **fields)
    if json:
        print_json(network.view)
    else:
        echo(_summarize(network.view))


def _parse_layers(value: str) -> list[dict[str, Any]]:
    layers = []
    for part in value.split(","):
        units, _, activation = part.strip().partition(":")
        if not units.isdigit():
            raise typer.BadParameter(
                f"{part!r} is not UNITS or UNITS:ACTIVATION, as in 8:tanh,1:sigmoid.", param_hint="--layers"
            )
        layers.append({"units": int(units), **({"activation": activation} if activation else {})})
    return layers


def _summarize(view: NetworkView) -> str:
    name = f" {view.name}" if view.name else ""
    units = " → ".join(map(str, (view.inputs, *(layer.units for layer in view.layers))))
    return f"{view.id}{name}: {units}, {view.parameters:,} parameters, cost {view.cost}."


@networks_app.command("list", cls=CliCommand)
def list_networks(url: Url = DEFAULT_URL, local: Local = False, json: Json = False, limit: Limit = 20) -> None:
    """List networks, newest first."""
    with open_client(url, local) as client:
        header = ("id", "name", "shape", "layers", "parameters", "version")
        print_list(client.list_networks(), limit, json, header, _table_row)


def _table_row(view: NetworkView) -> tuple[object, ...]:
    shape = f"{view.inputs} → {view.outputs}"
    return view.id, view.name, shape, len(view.layers), view.parameters, view.version


@networks_app.command(cls=CliCommand)
def show(network: NetworkArgument, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Show the layers and the tags of a network."""
    with open_client(url, local) as client:
        view = client.get_network(network).view
    if json:
        print_json(view)
        return
    echo(_summarize(view))
    rows = [
        (number, layer.units, layer.activation, layer.dropout or None) for number, layer in enumerate(view.layers, 1)
    ]
    print_table(("layer", "units", "activation", "dropout"), rows)
    echo(f"current version: {view.version}")
    for tag, version in view.tags.items():
        echo(f"tag {tag}: version {version}")


@networks_app.command(cls=CliCommand)
def delete(
    network: NetworkArgument, yes: Yes = False, url: Url = DEFAULT_URL, local: Local = False, json: Json = False
) -> None:
    """Delete a network with all its versions, unless an unfinished job or batch prediction needs it."""
    with open_client(url, local) as client:
        deleted = client.get_network(network)
        confirm_deletion(deleted, network, deleted.view.shadows, yes)
        deleted.delete()
    print_deleted(deleted, json)


@export_app.command(cls=CliCommand)
def export(
    network: NetworkArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", dir_okay=False, help="File to write. Default: NETWORK.FORMAT."),
    ] = None,
    format: Annotated[
        Literal["safetensors", "npz", "onnx"] | None,
        typer.Option(help="File format. Default: that of the suffix of --out, else safetensors."),
    ] = None,
    version: Version = DEFAULT_VERSION,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Export a network to a file, with its preprocessing and its classes."""
    file_format = infer_format(out, format, NETWORK_FORMATS, "safetensors")
    with open_client(url, local) as client:
        exported = client.get_network(network)
        path = out or Path(f"{exported.name or exported.id}.{file_format}")
        # Resolved first: the current version or a tag may change in between.
        metadata = exported.get_version(parse_version(version))
        exported.download(path, version=metadata.version, format=file_format)
    if json:
        print_json({"file": str(path), "version": metadata})
    else:
        echo(f"Exported version {metadata.version} of {exported.name or exported.id} to {path}.")
