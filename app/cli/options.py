"""Arguments, options and exit codes shared by commands, and base classes that report errors."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from nabla.app.cli.output import replace_control_characters
from nabla.app.client import ConnectionFailed, NablaError, StatusError

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_VERSION = "current"
EXIT_FAILED, EXIT_NO_SERVICE, EXIT_INTERRUPTED = 1, 3, 130

_CONNECTION_HINT = "Start a service with `nabla serve`, set its address with --url or NABLA_URL, or use --local."
# Fields of the API whose option or argument has another name.
_PARAMETER_NAMES = {"network_id": "network", "dataset_id": "dataset", "splits": "test_share"}

Url = Annotated[str, typer.Option("--url", envvar="NABLA_URL", help="Address of the service.")]
Local = Annotated[
    bool,
    typer.Option("--local", help="Start a service for this command, on the data in NABLA_DATA_DIR or ./data."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the JSON of the HTTP API, and nothing else.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="Maximum number of entries, newest first.")]

NetworkArgument = Annotated[str, typer.Argument(metavar="NETWORK", help="Id or name of a network.")]
DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="Id or name of a dataset.")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id or name of a job.")]
FileArgument = Annotated[
    Path,
    typer.Argument(
        exists=True,
        dir_okay=False,
        readable=True,
        metavar="FILE",
        help="CSV, TSV, Parquet, Arrow, NDJSON, JSON or .npz file.",
    ),
]

Target = Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Column to predict; repeat for several.")]
Label = Annotated[str | None, typer.Option(metavar="COLUMN", help="Column to predict as a class.")]
Features = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMNS", help="Columns to learn from, separated by commas. Default: all others."),
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="COLUMNS", help="Columns not to learn from, separated by commas.")
]
Types = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN=TYPE", help="Type of a column: number, boolean, category or date; repeat for several."
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Reject a file that needs cleaning, instead of cleaning it and saying how.")
]
Read = Annotated[
    list[str] | None,
    typer.Option(
        "--read",
        metavar="NAME=VALUE",
        help="How to read the file: format, delimiter, header, skip_rows, comment, encoding, decimal, thousands, "
        "null_values or drop_rows; repeat for several.",
    ),
]
Imputation = Annotated[
    str | None,
    typer.Option(
        help="Imputation of missing values: mean, median or most_frequent. Without it, rows with missing values are "
        "rejected."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")]
Hidden = Annotated[
    str | None, typer.Option(metavar="UNITS", help="Units of each hidden layer, such as 64,32. Default: proposed.")
]
Version = Annotated[str, typer.Option(help="Version number or tag.")]


def parse_version(value: str) -> int | str:
    """Return a version number as an integer, and a tag as it is."""
    return int(value) if value.isascii() and value.isdigit() else value


def infer_format(out: Path | None, format: str | None, formats: Mapping[str, str], default: str) -> str:
    """Return the format of a file to write: the one that is stated, else that of the suffix, else the default.

    Raises:
        typer.BadParameter: No format has the suffix.
    """
    if format is not None or out is None or not out.suffix:
        return format or default
    if out.suffix.lower() not in formats:
        accepted = ", ".join(formats)
        raise typer.BadParameter(
            f"No format has the suffix {out.suffix}; accepted: {accepted}. Or set --format.",
            param_hint="--out",
        )
    return formats[out.suffix.lower()]


def parse_types(values: list[str] | None) -> dict[str, str] | None:
    """Return the types in options such as `zip=category`; None if there are none.

    Raises:
        typer.BadParameter: An option has no `=`.
    """
    for value in values or ():
        if "=" not in value:
            raise typer.BadParameter(f"{value!r} is not COLUMN=TYPE, such as zip=category.", param_hint="--types")
    return dict(value.rsplit("=", 1) for value in values or ()) or None


def parse_read(values: list[str] | None) -> dict[str, str]:
    """Return options such as `delimiter=;` by name, as the service accepts them.

    Raises:
        typer.BadParameter: An option has no `=`.
    """
    for value in values or ():
        if "=" not in value:
            raise typer.BadParameter(f"{value!r} is not NAME=VALUE, such as skip_rows=3.", param_hint="--read")
    pairs = (value.split("=", 1) for value in values or ())
    return {name.strip().replace("-", "_"): text for name, text in pairs}


def table_options(
    *, target: list[str] | None, types: list[str] | None, strict: bool, read: list[str] | None, **others: Any
) -> dict[str, Any]:
    """Return the options with which a table to learn from is read: cleaned, unless strict, and with a detected task."""
    return drop_unset(
        target=target,
        task="auto" if target else None,
        types=parse_types(types),
        cleaning=None if strict else "auto",
        **others,
        **parse_read(read),
    )


def drop_unset(**options: Any) -> dict[str, Any]:
    """Return the options that have a value."""
    return {name: value for name, value in options.items() if value not in (None, "", [])}


def parse_hidden(value: str | None) -> list[int] | None:
    """Parse the units of hidden layers, such as `64,32`; an empty text stands for no hidden layers.

    Raises:
        typer.BadParameter: The text is not a list of positive integers.
    """
    if value is None:
        return None
    try:
        units = [int(part) for part in value.split(",") if part.strip()]
    except ValueError:
        units = [0]
    if any(count < 1 for count in units):
        raise typer.BadParameter(f"{value!r} is not a list of positive integers such as 64,32.", param_hint="--hidden")
    return units


class CliCommand(TyperCommand):
    """A command that reports expected errors on stderr and exits with their exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            typer.Exit: It failed; the message has been printed.
        """
        try:
            return super().invoke(ctx)
        except ConnectionFailed as error:
            _print_error(f"{error} {_CONNECTION_HINT}")
            raise typer.Exit(EXIT_NO_SERVICE) from error
        except StatusError as error:
            for message in self._messages(error):
                _print_error(message)
            raise typer.Exit(EXIT_FAILED) from error
        except BrokenPipeError:  # the reader of the pipe, such as `head`, has exited; click handles it
            raise
        except (NablaError, OSError, ValueError) as error:
            _print_error(str(error))
            raise typer.Exit(EXIT_FAILED) from error

    def _messages(self, error: StatusError) -> list[str]:
        """Return the messages of all invalid fields, each with the option that set the field."""
        options = {parameter.name: parameter.opts[0] for parameter in self.params}
        messages = []
        for field_error in error.errors:
            field = field_error["field"].partition(".")[0]
            option = options.get(_PARAMETER_NAMES.get(field, field), "")
            message = field_error["message"]
            messages.append(f"{option}: {message}" if option.startswith("--") else message)
        return messages or [str(error)]


class ListByDefaultGroup(TyperGroup):
    """A group that runs `list` if no command is given: `nabla jobs --json` is `nabla jobs list --json`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `list` before options, except for shell completion and --help."""
        is_completion = ctx.resilient_parsing
        if not is_completion and (not args or (args[0].startswith("-") and args[0] != "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def _print_error(message: str) -> None:
    print(f"nabla: {replace_control_characters(message)}", file=sys.stderr)
