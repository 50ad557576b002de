from utils.engine.frame_rate import FrameRate


def test_rates():
    times = iter([0.0, 1.0, 2.0, 2.5, 3.0])
    rate = FrameRate(frames=2, clock=lambda: next(times))
    assert rate.mean == 0
    assert [rate.tick() for _ in range(4)] == [1.0, 1.0, 2 / 1.5, 2.0]
    assert rate.count == 4 and rate.mean == 4 / 3
