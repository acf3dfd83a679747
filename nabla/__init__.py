"""Train and query fully connected neural networks: an HTTP service, its engine, and a typed client.

Example:
    ```python
    from nabla import Client

    with Client("http://localhost:8000") as client:
        client.get_network("xor").predict([[0, 1]])
    ```
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nabla.app.client import (
        AsyncBatchPrediction,
        AsyncClient,
        AsyncDataset,
        AsyncJob,
        AsyncNetwork,
        BadRequest,
        BatchPrediction,
        BatchPredictionError,
        Client,
        Conflict,
        ConnectionFailed,
        ContentTooLarge,
        Dataset,
        Frame,
        History,
        InvalidArgument,
        InvalidInput,
        Job,
        JobCancelled,
        JobError,
        JobFailed,
        NablaError,
        Network,
        NotFound,
        RequestInProgress,
        ServerError,
        ServiceUnavailable,
        StatusError,
        TooManyRequests,
        UnusualRowsWarning,
    )

__all__ = [
    "AsyncBatchPrediction",
    "AsyncClient",
    "AsyncDataset",
    "AsyncJob",
    "AsyncNetwork",
    "BadRequest",
    "BatchPrediction",
    "BatchPredictionError",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "ContentTooLarge",
    "Dataset",
    "Frame",
    "History",
    "InvalidArgument",
    "InvalidInput",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "NablaError",
    "Network",
    "NotFound",
    "RequestInProgress",
    "ServerError",
    "ServiceUnavailable",
    "StatusError",
    "TooManyRequests",
    "UnusualRowsWarning",
]


def __getattr__(name: str) -> Any:
    # Lazy, so that worker processes, which import nabla.engine, load no HTTP client.
    if name in __all__:
        from nabla.app import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
