"""Which of several kinds a client would rather have, by its Accept header (RFC 9110, 12.5.1)."""

from contextlib import suppress
from functools import lru_cache


@lru_cache(maxsize=256)
def preferred(accept: str, offered: tuple[str, ...]) -> str:
    """The one that the client wishes most; of equals, and for who does not say, the first."""
    if not accept or accept == "*/*":
        return offered[0]
    wishes = dict(_wishes(part) for part in accept.lower().split(","))

    def wish(kind: str) -> float:
        main = kind.partition("/")[0]
        return next((wishes[name] for name in (kind, f"{main}/*", "*/*") if name in wishes), 0.0)

    return max(offered, key=wish)


def _wishes(part: str) -> tuple[str, float]:
    kind, *parameters = (word.strip() for word in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            return kind, _weight(parameter[2:])
    return kind, 1.0


def _weight(word: str) -> float:
    """What cannot be read is not wished."""
    with suppress(ValueError):
        return float(word)
    return 0.0
