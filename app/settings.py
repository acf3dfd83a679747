"""Settings of the service. No other module reads them from the environment."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from nabla.engine.machine import available_cores, available_memory

MiB = 2**20


def _split_names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


class Settings(BaseSettings):
    """Settings, each read from the environment variable NABLA_ plus its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="NABLA_", frozen=True)

    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port to listen on; 0 picks a free port.")] = 8000
    allowed_hosts: Annotated[
        tuple[str, ...],
        NoDecode,
        BeforeValidator(_split_names),
        Field(
            description="Names, separated by commas, by which the service is reached, besides localhost and IP "
            "addresses; *.example.com stands for all names below example.com, * for every name. Requests with another "
            "Host are rejected."
        ),
    ] = ()
    data_dir: Annotated[Path, Field(description="Directory for persistent data.")] = Path("data")
    cpu_slots: Annotated[
        int, Field(ge=1, le=256, description="Number of CPU slots, each of which trains one job at a time.")
    ] = 1
    cores_per_cpu_slot: Annotated[
        int | None,
        Field(
            ge=1,
            description="CPU cores of each CPU slot. Default: the available cores divided by the CPU slots; a "
            "CPU quota of the container limits the available cores.",
        ),
    ] = None
    gpus: Annotated[
        Literal["auto", "none"], Field(description="auto: one slot for each GPU that CUDA lists; none: CPU only.")
    ] = "auto"
    checkpoint_interval: Annotated[
        float, Field(gt=0, description="Interval between checkpoints of a job, in seconds; a job can override it.")
    ] = 10.0
    max_checkpoints: Annotated[
        int,
        Field(ge=1, le=1000, description="Number of newest checkpoints to keep per job; a job can override it."),
    ] = 2
    worker_timeout: Annotated[
        float,
        Field(
            gt=0,
            description="Seconds without progress after which a worker or task process is replaced, in addition to the "
            "estimated duration of a long step.",
        ),
    ] = 60.0
    shutdown_timeout: Annotated[
        float, Field(gt=0, description="Seconds in which running jobs can save a checkpoint when the service stops.")
    ] = 5.0
    client_idle_timeout: Annotated[
        float,
        Field(
            gt=0,
            description="Seconds after which a connection is closed if the client stops sending a request, or stops "
            "reading a response.",
        ),
    ] = 60.0
    max_json_bytes: Annotated[int, Field(ge=1024, description="Size limit of a JSON body, in bytes.")] = 8 * MiB
    max_tensor_bytes: Annotated[
        int,
        Field(ge=1024, description="Size limit of a body with binary tensors (Open Inference Protocol), in bytes."),
    ] = 64 * MiB
    max_upload_bytes: Annotated[
        int,
        Field(
            ge=1024,
            description="Size limit of an uploaded file, and of each array of a dataset after decompression, in bytes.",
        ),
    ] = 4096 * MiB
    max_uploads: Annotated[
        int,
        Field(
            ge=1,
            description="Maximum number of datasets and networks that are uploaded in one request, or ingested, "
            "at the same time.",
        ),
    ] = 32
    max_open_uploads: Annotated[
        int, Field(ge=1, description="Maximum number of datasets that are open for uploads in several requests.")
    ] = 1000
    task_memory_limit: Annotated[
        int,
        Field(
            ge=256 * MiB,
            description="Memory limit of each task process (ingest, profiling, batch prediction, Arrow, model "
            "import/export), on top of its baseline, in bytes. Batch prediction gets the memory of the network as "
            "well.",
        ),
    ] = 1024 * MiB
    max_batch_predictions: Annotated[
        int, Field(ge=1, description="Maximum number of batch predictions that are queued or running.")
    ] = 100
    max_pending_predictions: Annotated[
        int, Field(ge=1, description="Maximum number of prediction requests that are pending at the same time.")
    ] = 1000
    max_inflight_bytes: Annotated[
        int,
        Field(
            ge=MiB,
            description="Memory limit of all request bodies and prediction responses together, except uploads, which "
            "are written to disk, in bytes. The rows and outputs of pending predictions have the same limit.",
        ),
    ] = 1024 * MiB
    max_parameters: Annotated[int, Field(ge=1, description="Maximum number of weights and biases of a network.")] = (
        200_000_000
    )
    max_queued_jobs: Annotated[int, Field(ge=1, description="Maximum number of queued jobs.")] = 1000
    job_memory_limit: Annotated[
        int | None,
        Field(
            ge=1,
            description="Memory limit of a job for parameters, gradient, optimizer state and a mini-batch, in bytes. "
            "Default: the available memory.",
        ),
    ] = None
    data_memory_limit: Annotated[
        int | None,
        Field(
            ge=1,
            description="Memory limit of a job for its data, in bytes; larger data are shuffled in blocks. Default: "
            "half of what the job leaves of its slot's share of the available memory.",
        ),
    ] = None
    unique_names: Annotated[
        bool,
        Field(
            description="Reject a network or dataset with a name that another one has. By default the name then stands "
            "for the newest."
        ),
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="Lowest level of log messages; debug also logs every request."),
    ] = "info"

    @property
    def resolved_cores_per_cpu_slot(self) -> int:
        """Cores of each CPU slot, as configured or as available."""
        return self.cores_per_cpu_slot or max(1, available_cores() // self.cpu_slots)

    @property
    def resolved_job_memory_limit(self) -> int:
        """Memory limit of a job in bytes, as configured or as available."""
        return self.job_memory_limit or available_memory()

    @property
    def predict_task_memory_limit(self) -> int:
        """Memory limit of the batch prediction process: chunks of rows, and two copies of the largest network.

        It holds the network as it is read and as it computes, at most 8 bytes per parameter.
        """
        return self.task_memory_limit + 2 * 8 * self.max_parameters

    def memory_per_slot(self, slots: int) -> int:
        """Return the share of one of `slots` slots in the available memory, in bytes."""
        return available_memory() // slots
