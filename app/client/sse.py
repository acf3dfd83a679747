"""Server-Sent Events, parsed as they arrive: bytes in, events out, whoever it is that reads them."""

from typing import NamedTuple


class Event(NamedTuple):
    kind: str
    id: str
    data: str


class Parser:
    """As the HTML standard has it, 9.2.6; but lines end with LF or CR LF, as this service ends them."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, list[str]] = {}
        self._last_id = ""

    def feed(self, part: bytes) -> list[Event]:
        """The events that are whole with it."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        events = []
        for line in lines:
            text = line.removesuffix(b"\r").decode()
            if text:
                self._note(text)
            elif (event := self._taken()) is not None:
                events.append(event)
        return events

    def _note(self, line: str) -> None:
        name, _, value = line.partition(":")  # of a comment the name is empty
        if name:
            self._fields.setdefault(name, []).append(value.removeprefix(" "))

    def _taken(self) -> Event | None:
        fields, self._fields = self._fields, {}
        self._last_id = fields.get("id", [self._last_id])[-1]
        if "data" not in fields:
            return None
        return Event(fields.get("event", ["message"])[-1], self._last_id, "\n".join(fields["data"]))
