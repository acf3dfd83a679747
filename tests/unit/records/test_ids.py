"""Ids sort in the order they were made."""

from concurrent.futures import ThreadPoolExecutor

from nabla.engine.records.ids import JOB, new_id


def test_ids_rise_also_within_a_millisecond_and_between_threads() -> None:
    made = [new_id(JOB) for _ in range(10_000)]
    assert made == sorted(set(made))
    assert {len(id) for id in made} == {len("job_") + 26}
    with ThreadPoolExecutor(4) as pool:
        several = list(pool.map(lambda _: new_id(JOB), range(10_000)))
    assert len(set(several)) == 10_000
    assert min(several) > made[-1]
