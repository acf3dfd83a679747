"""What is asked of a job, and what a service allows."""

from nabla.engine.services.jobs import Limits


def test_what_a_run_holds_is_no_room_for_its_data() -> None:
    limits = Limits(queued_jobs=1, job_bytes=1000, slot_bytes=1000)
    assert [limits.data_beside(held) for held in (0, 400, 2000)] == [500, 300, 0]
    assert Limits(queued_jobs=1, job_bytes=1000, slot_bytes=1000, data_bytes=70).data_beside(2000) == 70
