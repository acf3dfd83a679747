"""Ids sort by creation time."""

from concurrent.futures import ThreadPoolExecutor

from nabla.engine.records.ids import JOB, new_id


def test_ids_rise_within_a_millisecond_and_across_threads() -> None:
    ids = [new_id(JOB) for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert {len(id) for id in ids} == {len("job_") + 26}
    with ThreadPoolExecutor(4) as pool:
        concurrent = list(pool.map(lambda _: new_id(JOB), range(10_000)))
    assert len(set(concurrent)) == 10_000
    assert min(concurrent) > ids[-1]
