"""One service, asked over HTTP: its answers are its own models, its refusals are errors of a kind each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from nabla.app.client.concurrency import aside, async_sleep
from nabla.app.client.errors import BadRequest, ConnectionLost, InProgress, ServiceFailed, Unavailable
from nabla.app.client.request_encoding import problem_in
from nabla.app.client.retries import Tries, is_repeatable

View = TypeVar("View", bound=BaseModel)

_SECONDS_TO_CONNECT = 5.0
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")
# Of a file that arrives; what has not is not taken for the file.
_UNFINISHED = ".part"


class AsyncConnection:
    """What all that a client gives out has in common."""

    def __init__(self, url: str, timeout: float, patience: float) -> None:
        self.url = url
        self.patience = patience
        self.timeout = timeout
        limits = httpx.Timeout(timeout, connect=min(timeout, _SECONDS_TO_CONNECT))
        try:
            # Proxies stand between this machine and others, and not between it and itself.
            is_elsewhere = httpx.URL(url).host not in _THIS_MACHINE
            self._http = httpx.AsyncClient(base_url=url, timeout=limits, trust_env=is_elsewhere)
        except (httpx.InvalidURL, ImportError) as problem:  # the latter: a proxy of a kind that httpx needs more for
            raise ConnectionLost(f"There is no way to a service at {url}: {problem}.") from problem
        self._answered = False

    async def close(self) -> None:
        await self._http.aclose()

    @property
    def as_long_as_it_takes(self) -> httpx.Timeout:
        """For what takes as long as the data are large."""
        return httpx.Timeout(self.timeout, connect=min(self.timeout, _SECONDS_TO_CONNECT), read=None)

    def tries(self, patience: float | None = None, *, repeatable: bool = True) -> Tries:
        patience = self.patience if patience is None else patience
        return Tries(self.url, patience, repeatable=repeatable, answered=self._answered)

    async def ask(self, view: type[View], method: str, path: str, **request: Any) -> View:
        answer = await self.send(method, path, **request)
        try:
            return view.model_validate_json(answer.content)
        except ValidationError as problem:
            detail = f"What answers at {self.url} is no Nabla service, or one of another version."
            raise ServiceFailed(answer.status_code, {"detail": detail}) from problem

    async def send(self, method: str, path: str, *, repeatable: bool | None = None, **request: Any) -> httpx.Response:
        """`repeatable`: whether the request may arrive twice, where that is not for its method and its key to say.

        Raises ServiceError, ConnectionLost.
        """
        may = is_repeatable(method, request.get("headers") or {}) if repeatable is None else repeatable
        tries, sent_before = self.tries(repeatable=may), False
        while True:
            try:
                answer = await self._http.request(method, path, **request)
                self._answered = True
                if not (sent_before and method == "DELETE" and answer.status_code == 404):
                    await _check(answer)
                return answer
            except (httpx.TransportError, Unavailable, InProgress) as problem:
                pause, sent_before = tries.pause_after(problem), True
            await async_sleep(pause)

    @asynccontextmanager
    async def streamed(self, path: str, **request: Any) -> AsyncIterator[httpx.Response]:
        """An answer that is read as it arrives. Raises ServiceError, httpx.TransportError."""
        async with self._http.stream("GET", path, **request) as answer:
            self._answered = True
            await _check(answer)
            yield answer

    async def delete(self, path: str) -> None:
        """By id, never by name, so that it can be sent again: what is not there then was deleted by the first one."""
        await self.send("DELETE", path)

    async def download(self, address: str, path: Path, **query: str) -> Path:
        """A file at `path`, which is there when all of it has arrived. One that breaks off is begun anew."""
        unfinished, tries, furthest = path.with_name(path.name + _UNFINISHED), self.tries(), 0
        try:
            while True:
                try:
                    async with self.streamed(address, params=query, timeout=self.as_long_as_it_takes) as answer:
                        await _write(answer, unfinished)
                    return unfinished.rename(path)
                except (httpx.TransportError, Unavailable) as problem:
                    reached = unfinished.stat().st_size if unfinished.exists() else 0
                    if reached > furthest:  # it may have taken long to come so far
                        furthest = reached
                        tries.succeeded()
                    pause = tries.pause_after(problem)
                await async_sleep(pause)
        finally:
            unfinished.unlink(missing_ok=True)


async def _write(answer: httpx.Response, path: Path) -> None:
    with await aside(path.open, "wb") as file:
        async for part in answer.aiter_bytes():
            await aside(file.write, part)


async def _check(answer: httpx.Response) -> None:
    if answer.is_redirect:
        to = answer.headers.get("Location", "")
        raise BadRequest(answer.status_code, {"detail": f"{answer.url} only leads to {to}: give the address there."})
    if not answer.is_success:
        content = await answer.aread()
        raise problem_in(answer.status_code, content, answer.headers.get("Retry-After"))
