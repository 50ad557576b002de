import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from utils.engine import stopwatch
from utils.engine.stopwatch import FrameRate, Stopwatch


def test_stages_add_up():
    clock = Stopwatch()
    for items in (2, 3):
        with clock.stage("read", items):
            time.sleep(0.01)
    clock.timed("embed", lambda items: None)([1, 2, 3, 4])
    stages = clock.stages()
    assert list(stages) == ["read", "embed"]
    assert stages["read"]["items"] == 5 and stages["embed"]["items"] == 4
    assert 0.02 <= stages["read"]["seconds"] <= clock.seconds
    assert stages["read"]["per_second"] == pytest.approx(5 / stages["read"]["seconds"])


def test_timed_passes_the_result_on_and_an_error_still_counts():
    clock = Stopwatch()
    assert clock.timed("sum", sum)([1, 2]) == 3
    with pytest.raises(ZeroDivisionError), clock.stage("fails", 1):
        raise ZeroDivisionError
    assert clock.stages()["fails"]["items"] == 1


def test_threads_may_share_it():
    clock = Stopwatch()

    def work(_):
        with clock.stage("read", 1):
            pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(200)))
    assert clock.stages()["read"]["items"] == 200


def test_table_has_a_line_a_stage_and_the_total():
    clock = Stopwatch()
    with clock.stage("score", 6000, "pairs"):
        pass
    lines = clock.table().splitlines()
    assert len(lines) == 2
    assert "score" in lines[0] and "6,000 pairs" in lines[0] and "total" in lines[1]


def test_table_without_stages():
    assert "total" in Stopwatch().table()


def test_rates():
    times = iter([0.0, 1.0, 2.0, 2.5, 3.0])
    rate = FrameRate(frames=2, clock=lambda: next(times))
    assert rate.mean == 0
    assert [rate.tick() for _ in range(4)] == [1.0, 1.0, 2 / 1.5, 2.0]
    assert rate.count == 4 and rate.mean == 4 / 3


def test_seconds_per_call_leaves_the_first_out(monkeypatch):
    calls, ticks = [], iter([5.0, 8.0])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(ticks))
    assert stopwatch.seconds_per_call(lambda: calls.append(1), 6) == pytest.approx(0.5)
    assert len(calls) == 7


def test_speeds_are_milliseconds_and_calls_per_second(monkeypatch):
    seconds = {"fast": 0.0125, "slow": 2.0}
    monkeypatch.setattr(stopwatch, "seconds_per_call", lambda call, times: seconds[call()])
    lines = stopwatch.speeds({"fast net": lambda: "fast", "slow net": lambda: "slow"}, 3)
    assert list(lines) == ["fast net: 12.50 ms, 80.0 FPS", "slow net: 2000.00 ms, 0.5 FPS"]
