"""The two ways to wait: of a program with an event loop, and of one without. Which is which is all that differs between
the asynchronous client and the one that is generated from it."""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def async_sleep(seconds: float) -> None:
    import anyio

    await anyio.sleep(seconds)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


async def aside(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """In a thread, so that a slow disk does not keep the event loop."""
    from functools import partial

    from anyio import to_thread

    return await to_thread.run_sync(partial(function, *args, **kwargs))


def here(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return function(*args, **kwargs)
