"""Networks, their versions, and tags of versions."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.data.schema import Classes, ColumnType
from nabla.engine.errors import Conflict, NotFound
from nabla.engine.literals import CURRENT, NetworkFormat, VersionReference, WeightsOrigin
from nabla.engine.nn.architecture import Architecture
from nabla.engine.training.config import TrainingSpec

_MAX_TAGS = 100
_NO_PREPROCESSING = PreprocessingConfig()


@dataclass(frozen=True)
class Version:
    """Published weights of a network.

    Attributes:
        number: The number; 0 is that of the initial weights.
        file: Weights file, in the directory of the network. Unless `origin` is "drawn", it has a fitted preprocessor.
        job_id: The job that trained them.
        classes: The classes that they were trained on.
        created_at: When they were published.
        epoch: The epoch of the checkpoint that they are from; None for those that a job ended with.
        columns: Names and types of the columns that they were trained on; None for plain numbers.
        origin: Where they come from.
        cloned_from: Id of the network and number of the version that they are a copy of.
        imported: Format of the file that they were imported from.
    """

    number: int
    file: str
    job_id: str | None
    classes: Classes | None
    created_at: datetime
    epoch: int | None = None
    columns: tuple[tuple[str, ColumnType], ...] | None = None
    origin: WeightsOrigin = "trained"
    cloned_from: tuple[str, int] | None = None
    imported: NetworkFormat | None = None


@dataclass(frozen=True)
class NetworkRecord:
    """A network.

    Attributes:
        id: The id.
        name: The name, if it has one.
        architecture: The architecture.
        versions: All versions, oldest first.
        created_at: When it was created.
        current: Number of the version that predicts by default.
        preprocessing: How its data are preprocessed.
        tags: Numbers of versions by tag.
    """

    id: str
    name: str | None
    architecture: Architecture
    versions: tuple[Version, ...]
    created_at: datetime
    current: int = 0
    preprocessing: PreprocessingConfig = _NO_PREPROCESSING
    tags: dict[str, int] = field(default_factory=dict)

    def version(self, number: int) -> Version | None:
        """Return a version by number, or None."""
        return next((version for version in self.versions if version.number == number), None)

    def resolve_version(self, reference: VersionReference | None) -> Version:
        """Return a version by number or tag, or for None the current one. Raises NotFound."""
        if reference is None or reference == CURRENT:
            reference = self.current
        version = self.version(self.tags.get(reference, -1) if isinstance(reference, str) else reference)
        if version is None:
            raise NotFound(
                "version",
                f"The network {self.id} has no version {reference}; it has 0 to {self.versions[-1].number}, and "
                f"{self._describe_tags()}.",
                "version",
            )
        return version

    def initial_version(self, spec: TrainingSpec) -> Version:
        """Return the version that a job with these settings starts from, unless it starts from a checkpoint."""
        return self.resolve_version(CURRENT if spec.warm_start else 0)

    def tags_of(self, version: Version) -> list[str]:
        """Return the tags of a version."""
        return [tag for tag, number in self.tags.items() if number == version.number]

    def with_version(self, version: Version) -> "NetworkRecord":
        """Return the network with one more version, which becomes the current one."""
        return replace(self, versions=(*self.versions, version), current=version.number)

    def with_tag(self, tag: str, version: Version) -> "NetworkRecord":
        """Return the network with a tag on this version only. Raises Conflict if it has the maximum already."""
        if tag not in self.tags and len(self.tags) >= _MAX_TAGS:
            raise Conflict(f"The network has {_MAX_TAGS} tags, the maximum; move or remove one of them.")
        return replace(self, tags=dict(sorted({**self.tags, tag: version.number}.items())))

    def without_tag(self, tag: str) -> "NetworkRecord":
        """Return the network without a tag. Raises NotFound if it has no such tag."""
        if tag not in self.tags:
            raise NotFound("tag", f"The network {self.id} has no tag {tag}; it has {self._describe_tags()}.", "tag")
        return replace(self, tags={other: number for other, number in self.tags.items() if other != tag})

    def _describe_tags(self) -> str:
        return f"the tags {', '.join(self.tags)}" if self.tags else "no tags"
