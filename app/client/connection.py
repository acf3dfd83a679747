"""One service, asked over HTTP: its answers are its own models, its refusals are ServiceError."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import httpx
from pydantic import BaseModel

View = TypeVar("View", bound=BaseModel)
T = TypeVar("T")
P = ParamSpec("P")

# Of a file that arrives; what has not is not taken for the file.
_UNFINISHED = ".part"
# Seconds before each of the further tries, when a connection breaks.
_PAUSES = (0.1, 0.5, 2.0, 5.0)


class ServiceError(Exception):
    """The service refused. `status` is the HTTP status, `problem` the whole problem document."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or f"HTTP status {status}")
        self.status = status
        self.problem = problem


class Connection:
    """To one service. Use it as a context manager, so that what it holds open is closed."""

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        """`timeout`: seconds without any sign of the service after which a request raises httpx.TransportError."""
        self._http = httpx.Client(base_url=url, timeout=timeout)
        self._timeout = timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    @property
    def _patience(self) -> httpx.Timeout:
        """For what takes as long as the data are large."""
        return httpx.Timeout(self._timeout, read=None)

    def _ask(self, view: type[View], method: str, path: str, **request: Any) -> View:
        answer = self._http.request(method, path, **request)
        check(answer)
        return view.model_validate(answer.json())

    def _download(self, address: str, path: Path, **query: str) -> Path:
        """A file at `path`, which is there when all of it has arrived."""
        unfinished = path.with_name(path.name + _UNFINISHED)
        try:
            with self._http.stream("GET", address, params=query, timeout=self._patience) as answer:
                check(answer)
                with unfinished.open("wb") as file:
                    for part in answer.iter_bytes():
                        file.write(part)
            return unfinished.rename(path)
        finally:
            unfinished.unlink(missing_ok=True)


def check(answer: httpx.Response) -> None:
    """Raises ServiceError for an error."""
    if answer.is_error:
        answer.read()
        try:
            problem = answer.json()
        except ValueError:
            problem = {"detail": answer.text[:200]}
        raise ServiceError(answer.status_code, problem)


def persistently(request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Ask again when the connection breaks; `request` does the same however often it arrives.

    Raises httpx.TransportError if it has broken every time.
    """
    for pause in _PAUSES:
        try:
            return request(*args, **kwargs)
        except httpx.TransportError:
            time.sleep(pause)
    return request(*args, **kwargs)


def as_text(options: Mapping[str, Any]) -> dict[str, str]:
    """Lists and objects as the service reads them in forms and queries; what is None is left out."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
