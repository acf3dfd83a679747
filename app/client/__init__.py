"""Typed clients of the service, `Client` and `AsyncClient`, built on httpx.

The asynchronous client in `_async` is the source of the synchronous one in `_sync`, which
scripts/generate_sync_client.py generates. The modules beside them perform no network requests and serve both.
"""

from nabla.app.client._async.batch_predictions import AsyncBatchPrediction
from nabla.app.client._async.client import AsyncClient
from nabla.app.client._async.datasets import AsyncDataset
from nabla.app.client._async.jobs import AsyncJob
from nabla.app.client._async.networks import AsyncNetwork
from nabla.app.client._sync.batch_predictions import BatchPrediction
from nabla.app.client._sync.client import Client
from nabla.app.client._sync.datasets import Dataset
from nabla.app.client._sync.jobs import Job
from nabla.app.client._sync.networks import Network
from nabla.app.client.errors import (
    BadRequest,
    BatchPredictionError,
    Conflict,
    ConnectionFailed,
    ContentTooLarge,
    InvalidArgument,
    InvalidInput,
    JobCancelled,
    JobError,
    JobFailed,
    NablaError,
    NotFound,
    RequestInProgress,
    ServerError,
    ServiceUnavailable,
    StatusError,
    TooManyRequests,
    UnusualRowsWarning,
)
from nabla.app.client.frames import Frame
from nabla.app.client.history import History

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
