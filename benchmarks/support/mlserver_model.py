"""Write a directory from which MLServer serves a network of scikit-learn, 784-128-10.

The Python of MLServer's own virtual environment runs it:

    PYTHON mlserver_model.py DIRECTORY PORT
"""

import json
import sys
from pathlib import Path

import joblib
import numpy as np
from sklearn.neural_network import MLPClassifier


def main(directory: Path, port: int) -> None:
    """Write the model and MLServer's settings."""
    x = np.random.default_rng(0).random((200, 784), np.float32)
    network = MLPClassifier((128,), max_iter=1, tol=1.0).fit(x, np.arange(200) % 10)
    model = directory / "digits"
    model.mkdir(parents=True)
    joblib.dump(network, model / "model.joblib")
    settings = {
        "name": "digits",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
    }
    (model / "model-settings.json").write_text(json.dumps(settings))
    server = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": 0,
        "debug": False,
        "use_structured_logging": False,
    }
    (directory / "settings.json").write_text(json.dumps(server))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
