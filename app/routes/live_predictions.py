"""/v1/jobs/{id}/predictions"""

from functools import partial

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from app.context import Context, JobId, context_of
from app.direct import DirectRoute
from app.predictions.answers import Predictor
from app.routes import problems
from app.routes.jobs import found_job
from app.routes.predictions import BINARY, body_of, predicted
from app.schemas.predictions import NewLivePrediction, PredictionView
from engine.errors import InvalidInput, Unavailable
from engine.jobs.job import Job
from engine.jobs.snapshots import Snapshot, check_running
from engine.names import VersionReference

router = APIRouter(prefix="/v1/jobs", tags=["4 predictions"], route_class=DirectRoute)


@router.post(
    "/{job_id}/predictions",
    summary="Predict with a running job",
    response_model=PredictionView,
    responses={200: {"content": BINARY}, **problems(404, 409, 413, 415, 422)},
    openapi_extra=body_of(NewLivePrediction),
)
async def predict_with_job(request: Request, job_id: JobId) -> Response:
    """Work rows of raw inputs through the weights that a running job has at the moment; bodies and answers are those of
    predictions with a network, without a `version`. The job gives its weights between two steps, at most about once a
    second: requests in between get the same ones. It ends with the same bits as a job that nobody looks at.

    A job that does not run answers 409, and says what predicts instead: as does the one of this page's story, which has
    ended by now.
    """
    here = context_of(request)
    return await predicted(request, partial(_live, here, await found_job(job_id, here)))


async def _live(here: Context, job: Job, reference: VersionReference | None) -> Predictor:
    """Raises InvalidInput, Conflict, Unavailable, StorageFailed."""
    if reference is not None:
        raise InvalidInput(
            "version", "A job has no versions: it predicts with the weights that it has now. Leave it out."
        )
    snapshot = await _snapshot(here, job)
    names = {"network_id": job.network_id, "version": None, "job_id": job.id, "epoch": snapshot.epoch}
    return Predictor(names, snapshot.model, snapshot.classes)


async def _snapshot(here: Context, job: Job) -> Snapshot:
    snapshots, jobs = here.jobs.snapshots, here.registry.jobs
    found = snapshots.recent(jobs.get(job.id))
    if found is None:
        await run_in_threadpool(snapshots.ask, job.id)
        await here.changes.settled(job.id, snapshots.is_awaited)
        now = jobs.get(job.id)
        found = snapshots.recent(now)
        if found is None:
            check_running(now)
            raise Unavailable("The job is running, but has not given its weights in time. Ask again.")
    return found
