"""/v1/networks/{id}/evaluations"""

from fastapi import APIRouter

from app.context import Here, NetworkId, spoken_of_in
from app.routes import problems
from app.schemas.evaluations import EvaluationView, NewEvaluation

router = APIRouter(prefix="/v1/networks", tags=["5 evaluations"])


# Not async: the framework runs it in a thread, away from the event loop.
@router.post("/{network_id}/evaluations", summary="Evaluate", responses=problems(400, 404, 409, 413, 415, 422))
def evaluate(network_id: NetworkId, new: NewEvaluation, here: Here) -> EvaluationView:
    """Measure the network's current version, or another one, on a dataset: its cost; for classes accuracy, precision,
    recall and the confusion matrix; for targets R², and errors in the units of the targets."""
    record = here.registry.networks.find(network_id)
    with spoken_of_in("dataset_id"):
        dataset = here.uploads.ready(new.dataset_id)
    version, found = here.catalog.evaluate(record, new.version, dataset)
    return EvaluationView.of(record, version, dataset, found)
