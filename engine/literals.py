"""The names that settings and states have. They stand apart from what they name, so that whoever only speaks of it, as
a client does, loads none of it."""

from typing import Literal

ActivationName = Literal[
    "identity",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "softplus",
    "sin",
    "softmax",
]
CostName = Literal[
    "quadratic", "mean_absolute", "huber", "poisson", "binary_cross_entropy", "categorical_cross_entropy"
]
InitializerName = Literal[
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "standard_normal",
]
OptimizerName = Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam", "l-bfgs"]
ScheduleName = Literal["constant", "step", "exponential", "cosine", "inverse_scaling", "plateau"]
DtypeName = Literal["float32", "float64"]
LARGEST_SEED = 2**63 - 1
Precision = Literal["full", "tf32", "half"]

ScalingWord = Literal["none", "standardize", "min_max", "robust"]
FileFormat = Literal["csv", "parquet", "arrow", "npy"]
"""Of what is predicted."""
DataFormat = Literal["csv", "tsv", "parquet", "arrow", "ndjson", "json", "npy", "npz", "idx"]
"""Of what is read."""
NetworkFormat = Literal["safetensors", "npz", "onnx"]

DeviceKind = Literal["cpu", "cuda"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
StopReason = Literal["epochs", "patience", "target_cost", "max_seconds", "converged"]
MOST_CLASSES_CONFUSED = 1000
"""Above so many there is no confusion matrix."""

State = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
"""Of a job."""
ErrorKind = Literal[
    "diverged",
    "invalid_data",
    "damaged_data",
    "out_of_memory",
    "worker_died",
    "hung",
    "storage_failed",
    "dependency_failed",
    "internal",
]
BatchState = Literal["queued", "succeeded", "failed", "cancelled"]
UploadState = Literal["receiving", "reading", "failed"]
UploadKind = Literal["fields", "rows", "file"]
"""What the pieces of an upload are: a form's fields, or files of rows one after the other, or parts of one file."""
Origin = Literal["drawn", "trained", "imported"]
"""How weights came to be."""
VersionReference = int | str
"""A number; or a tag, or `CURRENT`."""
CURRENT = "current"
"""What stands for the version that predicts, and so is no tag."""
