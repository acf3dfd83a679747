"""A network as the service knows it: its versions, and the tags on them."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.data.schema import ColumnType
from nabla.engine.errors import Conflict, NotFound
from nabla.engine.literals import CURRENT, NetworkFormat, Origin, VersionReference
from nabla.engine.nn.architecture import Architecture
from nabla.engine.training.config import TrainingSpec

_MOST_TAGS = 100
_NO_PREPROCESSING = PreprocessingConfig()


@dataclass(frozen=True)
class Version:
    """Published weights of a network; `file` is in the network's folder. Number 0 is the start.

    `job_id`: who trained them; `epoch`: after which of its epochs, where it was not its end; `classes`: what they were
    trained to tell apart; `columns`: the names and types of those that they were trained on, None for plain numbers.
    `origin`: how the weights came to be; with all but those that were drawn the file has what their data are prepared
    by. `imported`: the format of the file that they came in, where they did. `cloned_from`: the network, and its
    version, that they were taken over from."""

    number: int
    file: str
    job_id: str | None
    classes: tuple[str, ...] | None
    created_at: datetime
    epoch: int | None = None
    columns: tuple[tuple[str, ColumnType], ...] | None = None
    origin: Origin = "trained"
    cloned_from: tuple[str, int] | None = None
    imported: NetworkFormat | None = None


@dataclass(frozen=True)
class NetworkRecord:
    """`preprocessing`: how its data are prepared; `current`: the number of the version that predicts, unless another is
    asked for; `tags`: the numbers of versions, by the names that were given to them."""

    id: str
    name: str | None
    architecture: Architecture
    versions: tuple[Version, ...]
    created_at: datetime
    current: int = 0
    preprocessing: PreprocessingConfig = _NO_PREPROCESSING
    tags: dict[str, int] = field(default_factory=dict)

    def version(self, number: int) -> Version | None:
        return next((version for version in self.versions if version.number == number), None)

    def find(self, reference: VersionReference | None) -> Version:
        """By number or by tag; by default the current one. Raises NotFound."""
        if reference is None or reference == CURRENT:
            reference = self.current
        found = self.version(self.tags.get(reference, -1) if isinstance(reference, str) else reference)
        if found is None:
            raise NotFound(
                "version",
                f"The network {self.id} has no version {reference}; it has 0 to {self.versions[-1].number}, and "
                f"{self._tags_in_words()}.",
                "version",
            )
        return found

    def start_of(self, spec: TrainingSpec) -> Version:
        """What a job of these settings begins with, unless with a checkpoint."""
        return self.find(CURRENT if spec.warm_start else 0)

    def tags_of(self, version: Version) -> list[str]:
        return [tag for tag, number in self.tags.items() if number == version.number]

    def with_version(self, version: Version) -> "NetworkRecord":
        """With one more, current from then on."""
        return replace(self, versions=(*self.versions, version), current=version.number)

    def tagged(self, tag: str, version: Version) -> "NetworkRecord":
        """With the tag on this version, and on no other. Raises Conflict if it would be one tag too many."""
        if tag not in self.tags and len(self.tags) >= _MOST_TAGS:
            raise Conflict(f"The network has {_MOST_TAGS} tags, as many as it may; move one of them, or remove one.")
        return replace(self, tags=dict(sorted({**self.tags, tag: version.number}.items())))

    def untagged(self, tag: str) -> "NetworkRecord":
        """Without the tag. Raises NotFound."""
        if tag not in self.tags:
            raise NotFound("tag", f"The network {self.id} has no tag {tag}; it has {self._tags_in_words()}.", "tag")
        return replace(self, tags={other: number for other, number in self.tags.items() if other != tag})

    def _tags_in_words(self) -> str:
        return f"the tags {', '.join(self.tags)}" if self.tags else "no tags"
