"""How long a request waits for what it has begun: the header Prefer, RFC 7240."""

from typing import Annotated

from fastapi import Header

Prefer = Annotated[
    str | None,
    Header(description="wait=SECONDS, or respond-async: how long to wait for the result before the answer is 202."),
]
_SECONDS = 30.0
_MOST_SECONDS = 600.0


def seconds_to_wait(prefer: str | None) -> float:
    """What is not understood is passed over, as the RFC asks."""
    preferences = dict(_split(part) for part in (prefer or "").split(","))
    if "respond-async" in preferences:
        return 0.0
    try:
        return min(max(float(preferences.get("wait", _SECONDS)), 0.0), _MOST_SECONDS)
    except ValueError:
        return _SECONDS


def _split(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip().lower(), value.strip()
