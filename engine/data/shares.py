"""What a dataset is to be divided into."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Share:
    """A part to be: `share` of the rows, stored in the empty folder `folder`."""

    share: float
    folder: Path
