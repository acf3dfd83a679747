"""Sleeping and blocking calls: asynchronous, and the synchronous counterparts for the generated client.

The asynchronous ones import anyio when they are called: the synchronous client does not need it.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def async_sleep(seconds: float) -> None:
    """Suspend the task for some seconds."""
    import anyio

    await anyio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Block for some seconds."""
    time.sleep(seconds)


async def to_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a worker thread, so that slow disks do not block the event loop."""
    import anyio.to_thread

    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


def run_inline(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function directly."""
    return function(*args, **kwargs)
