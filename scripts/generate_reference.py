"""Generate the reference pages of the documentation from the code.

python -m scripts.generate_reference            write docs/reference/{http-api,http-schemas,cli,settings,errors}.md
python -m scripts.generate_reference --check    exit with 1 and name the pages that are not current
"""

import argparse
import asyncio
import json
import logging
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import typer
from fastapi import FastAPI

from nabla.app.cli.main import cli
from nabla.app.client import errors as client_errors
from nabla.app.http import errors as http_errors
from nabla.app.main import create_app
from nabla.app.schemas.networks import NewNetwork
from nabla.app.settings import Settings
from nabla.engine import errors as engine_errors

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
_NOTICE = "<!-- Generated from the code by scripts/generate_reference.py. Do not edit. -->\n\n"
_SCHEMAS_PAGE = "http-schemas.md"
_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
Schema = dict[str, Any]


def cell(text: str) -> str:
    """Return Markdown for a cell of a table: one line, without a bar, a tag or a link of its own."""
    spans = " ".join(text.split()).split("`")
    spans[::2] = [re.sub(r"([\[\]<|])", r"\\\1", span) for span in spans[::2]]
    spans[1::2] = [span.replace("|", "&#124;") for span in spans[1::2]]
    return "`".join(spans)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, or nothing without rows."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if not lines:
        return ""
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines]) + "\n\n"


def code(value: Any) -> str:
    """Return a JSON value as inline code."""
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def anchor(name: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class Schemas:
    """The schemas of requests and responses, named ones and those that stand inline."""

    def __init__(self, components: dict[str, Schema]) -> None:
        self.named = dict(components)

    def type_of(self, schema: Schema) -> str:
        """Return a schema in words, with links to the schemas of objects."""
        if "$ref" in schema:
            return self._link(schema["$ref"].rpartition("/")[2])
        if "const" in schema:
            return code(schema["const"])
        if "enum" in schema:
            return ", ".join(code(value) for value in schema["enum"])
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return " or ".join(dict.fromkeys(self.type_of(option) for option in schema[union]))
        return self._plain_type(schema)

    def _plain_type(self, schema: Schema) -> str:
        kind = schema.get("type", "any value")
        if isinstance(kind, list):
            return " or ".join(kind)
        if kind == "array":
            items = schema.get("prefixItems") or [schema.get("items", {})]
            return "array of " + ", ".join(self.type_of(item) for item in items)
        if kind == "object" and "properties" in schema and "title" in schema:
            self.named.setdefault(schema["title"], schema)
            return self._link(schema["title"])
        if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
            return f"object of {self.type_of(schema['additionalProperties'])}"
        if schema.get("format") == "binary":
            return "file"
        return str(kind) + _bounds(schema)

    def _link(self, name: str) -> str:
        return f"[{_schema_title(name)}]({_SCHEMAS_PAGE}#{anchor(name)})"

    def describe(self, schema: Schema) -> str:
        """Return the description of an object and the table of its fields."""
        required = schema.get("required", [])
        fields = (
            (
                f"`{name}`",
                self.type_of(field),
                "required" if name in required else code(field["default"]) if "default" in field else "",
                cell(field.get("description", "")),
            )
            for name, field in schema.get("properties", {}).items()
        )
        values = self.type_of(schema) + "\n\n" if "enum" in schema else ""
        return (
            _paragraph(schema.get("description", ""))
            + table(("Field", "Type", "Default", "Description"), fields)
            + values
        )


def _schema_title(name: str) -> str:
    # Pydantic's name of Page[NetworkView] is Page_NetworkView_.
    return f"Page of {name[5:-1]}" if name.startswith("Page_") else name


def _paragraph(markdown: str) -> str:
    return markdown.strip() + "\n\n" if markdown else ""


def _bounds(schema: Schema) -> str:
    signs = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "exclusiveMaximum": "< {}",
        "maxLength": "at most {} characters",
    }
    bounds = [sign.format(f"{schema[name]:,.15g}") for name, sign in signs.items() if name in schema]
    return f" ({', '.join(bounds)})" if bounds else ""


@cache
def openapi() -> tuple[dict[str, Any], Schemas]:
    """Return the OpenAPI document of the service and its schemas."""
    with tempfile.TemporaryDirectory() as data:
        document = create_app(Settings(data_dir=Path(data), gpus="none")).openapi()
    return document, Schemas(document["components"]["schemas"])


def http_api() -> str:
    """Return the page of operations, by tag."""
    document, schemas = openapi()
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = str(operation["tags"][0]).lstrip("0123456789 ")
            sections.setdefault(tag, []).append(_operation(schemas, method.upper(), path, operation))
    parts = [
        "# HTTP API\n\n",
        "A running service shows the same operations at `/docs`, where they can be tried, and as OpenAPI at ",
        f"`/openapi.json`. Objects are in [Schemas of the HTTP API]({_SCHEMAS_PAGE}), errors in ",
        "[Errors](errors.md).\n\n",
    ]
    parts += [f"## {tag[0].upper()}{tag[1:]}\n\n" + "".join(operations) for tag, operations in sections.items()]
    return "".join(parts)


def _operation(schemas: Schemas, method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = (
        (
            f"`{parameter['name']}`",
            parameter["in"],
            schemas.type_of(parameter["schema"]),
            cell(parameter.get("description") or parameter["schema"].get("description", "")),
        )
        for parameter in operation.get("parameters", [])
    )
    bodies = operation.get("requestBody", {}).get("content", {})
    statuses = operation["responses"]
    failures = [f"[{status}](errors.md#status-codes)" for status in statuses if status >= "400"]
    return "".join(
        (
            f"### {operation['summary']}\n\n`{method} {path}`\n\n",
            _paragraph(operation["description"]),
            table(("Parameter", "In", "Type", "Description"), parameters),
            table(("Body", "Content"), ((f"`{kind}`", _content(schemas, body)) for kind, body in bodies.items())),
            table(
                ("Status", "Response"),
                ((status, _response(schemas, response)) for status, response in statuses.items() if status < "400"),
            ),
            f"Errors: {', '.join(failures)}.\n\n" if failures else "",
        )
    )


def _content(schemas: Schemas, body: dict[str, Any]) -> str:
    return schemas.type_of(body["schema"]) if body.get("schema") else ""


def _response(schemas: Schemas, response: dict[str, Any]) -> str:
    described = [] if response["description"] == "Successful Response" else [cell(response["description"])]
    for kind, body in response.get("content", {}).items():
        content = _content(schemas, body)
        described.append(f"`{kind}`: {content}" if content else f"`{kind}`")
    return "<br>".join(described)


def http_schemas() -> str:
    """Return the page of the objects in requests and responses."""
    http_api()  # registers the schemas that stand inline
    _, schemas = openapi()
    described: dict[str, str] = {}
    while missing := [name for name in schemas.named if name not in described]:
        described |= {name: schemas.describe(schemas.named[name]) for name in missing}
    entries = (f"## {_schema_title(name)} {{ #{anchor(name)} }}\n\n{text}" for name, text in sorted(described.items()))
    return "# Schemas of the HTTP API\n\n" + "".join(entries)


def command_line() -> str:
    """Return the page of the `nabla` command."""
    group: Any = typer.main.get_command(cli)
    parts = ["# CLI\n\n", _paragraph(group.help or "")]
    for name, command in _commands(group, "nabla"):
        parameters = [parameter for parameter in command.params if "--help" not in parameter.opts]
        arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
        options = [parameter for parameter in parameters if parameter.param_type_name == "option"]
        parts += [
            f"## {name}\n\n",
            _paragraph(command.help or ""),
            f"`{' '.join([name, *(_metavar(argument) for argument in arguments), '[OPTIONS]'])}`\n\n",
            table(
                ("Argument", "Description"),
                ((f"`{_metavar(argument)}`", cell(argument.help or "")) for argument in arguments),
            ),
            table(
                ("Option", "Default", "Description"),
                (
                    (
                        ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts)),
                        _option_default(option),
                        cell(option.help or ""),
                    )
                    for option in options
                ),
            ),
        ]
    return "".join(parts)


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    context = typer.Context(group, info_name=prefix)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def _option_default(option: Any) -> str:
    defaults = [] if option.default in (None, False, ()) else [f"`{option.default}`"]
    return ", ".join(defaults + ([f"`{option.envvar}`"] if option.envvar else []))


def settings() -> str:
    """Return the page of settings."""
    schemas, properties = Schemas({}), Settings.model_json_schema()["properties"]
    names = {field: f"NABLA_{field.upper()}" for field in Settings.model_fields}
    rows = ((f"[`{name}`](#{anchor(name)})", _setting_default(field)) for field, name in names.items())
    parts = [
        "# Settings\n\n",
        "Every setting is an environment variable of the service; `nabla serve --help` lists those that are options ",
        "too. A value that is not accepted ends `nabla serve` with a message that names the setting.\n\n",
        table(("Setting", "Default"), rows),
    ]
    for field, name in names.items():
        options = properties[field].get("anyOf", [properties[field]])
        kind = schemas.type_of(next(option for option in options if option.get("type") != "null"))
        parts += [
            f"## {name} {{ #{anchor(name)} }}\n\n",
            _paragraph(Settings.model_fields[field].description or ""),
            f"Type: {kind}. Default: {_setting_default(field) or 'none'}.\n\n",
        ]
    return "".join(parts)


def _setting_default(field: str) -> str:
    default = Settings.model_fields[field].default
    if default is None:
        return ""
    if isinstance(default, int) and default >= 2**20:
        for unit, size in _UNITS:
            if default % size == 0:
                return f"`{default}` ({default // size:,} {unit})"
    return f"`{default}`"


def errors() -> str:
    """Return the page of errors: statuses, types of problems, exceptions of the client."""
    example, problems = asyncio.run(_problems())
    return "".join(
        (
            "# Errors\n\n",
            "Errors are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem details, ",
            "`application/problem+json`: a stable `type`, a `title`, the `status`, a `detail` for people, and ",
            "`errors`, each with the `field` that is wrong and a `message` that says what is accepted; of a list of ",
            "data, which may have millions of items, only the first that is wrong. Operations of ",
            'the Open Inference Protocol (`/v2`) answer in its own form, `{"error": "…"}`, with the same statuses.\n\n',
            f"```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```\n\n",
            "## Status codes\n\n",
            table(("Status", "Meaning"), sorted(_statuses().items())),
            "## Types of problems\n\n",
            table(("Type", "Status", "Title", "Retry-After"), sorted(problems)),
            "## Exceptions of the Python client\n\n",
            f"```text\n{(client_errors.__doc__ or '').strip()}\n```\n\n",
            "Their attributes are in [Python client](python-client.md#exceptions).\n\n",
        )
    )


def _statuses() -> dict[str, str]:
    document, _ = openapi()
    return {
        status: cell(response["description"])
        for path, operations in document["paths"].items()
        if not path.startswith("/v2")
        for operation in operations.values()
        for status, response in operation["responses"].items()
        if status >= "400"
    }


async def _problems() -> tuple[dict[str, Any], set[tuple[str, str, str, str]]]:
    """Return an example, and a row of each type of problem.

    The problems are the answers of an application that handles errors as the service does, to bad requests and to each
    error of the engine.
    """
    app = FastAPI()
    http_errors.install_error_handlers(app)
    app.add_api_route("/networks", _accept_network, methods=["POST"])
    for error in _engine_errors():
        app.add_api_route(f"/{type(error).__name__}", _raising(error))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    logging.disable()
    async with httpx.AsyncClient(transport=transport, base_url="http://nabla") as client:
        invalid = await client.post("/networks", json={"inputs": 0, "layers": [{"units": 10, "activation": "soft"}]})
        responses = [
            await client.post("/networks", content="{", headers={"Content-Type": "application/json"}),
            await client.post("/networks", content="units", headers={"Content-Type": "text/plain"}),
            await client.get("/nothing"),
            await client.put("/networks"),
            *[await client.get(f"/{type(error).__name__}") for error in _engine_errors()],
        ]
    logging.disable(logging.NOTSET)
    return invalid.json(), {_problem_row(response) for response in responses}


async def _accept_network(network: NewNetwork) -> None:
    """Validate a body."""


def _problem_row(response: httpx.Response) -> tuple[str, str, str, str]:
    problem, retry_after = response.json(), response.headers.get("Retry-After")
    return f"`{problem['type']}`", str(problem["status"]), problem["title"], f"{retry_after} s" if retry_after else ""


def _engine_errors() -> Iterator[engine_errors.NablaError]:
    for kind in vars(engine_errors).values():
        if isinstance(kind, type) and issubclass(kind, engine_errors.NotFound):
            yield kind("…", "")
        elif isinstance(kind, type) and issubclass(kind, engine_errors.InvalidInput):
            yield kind("field", "")
        elif isinstance(kind, type) and issubclass(kind, engine_errors.NablaError):
            yield kind("")


def _raising(error: Exception) -> Callable[[], None]:
    def endpoint() -> None:
        raise error

    return endpoint


PAGES: dict[str, Callable[[], str]] = {
    "http-api.md": http_api,
    _SCHEMAS_PAGE: http_schemas,
    "cli.md": command_line,
    "settings.md": settings,
    "errors.md": errors,
}


def main() -> None:
    """Write the pages, or check that they are current."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is not current")
    options = parser.parse_args()
    pages = {REFERENCE / name: _NOTICE + page().rstrip() + "\n" for name, page in PAGES.items()}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    if not options.check:
        for path in stale:
            path.write_text(pages[path])
    elif stale:
        sys.exit(
            f"Not current in docs/reference: {', '.join(path.name for path in stale)}. Run scripts/docs reference."
        )


if __name__ == "__main__":
    main()
