import math
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils.training import schedules

STEPS = 1200


def rates(schedule):
    return np.array([float(schedule(step)) for step in range(STEPS)])


@pytest.mark.parametrize(("warmup", "share"), [(0, 0.0), (100, 0.01), (599, 0.2)])
def test_warmup_cosine_is_the_formula(warmup, share):
    peak, step = 0.05, np.arange(STEPS)
    progress = np.clip((step - warmup) / (1000 - warmup), 0, 1)
    expected = peak * (share + (1 - share) * (1 + np.cos(np.pi * progress)) / 2)
    expected[:warmup] = peak * step[:warmup] / max(warmup, 1)
    found = rates(schedules.warmup_cosine(peak, 1000, warmup, share))
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-7 * peak)


def test_staircase_is_the_formula():
    expected = 0.05 * 0.01 ** (np.arange(STEPS) // 100 / 9)
    np.testing.assert_allclose(rates(schedules.staircase(0.05, 1000, 0.01)), expected, rtol=0, atol=3e-7 * 0.05)


def test_piecewise_constant_is_the_formula():
    found = rates(schedules.piecewise_constant([(0, 0.05), (2, 0.005), (5, -1)], 200))
    expected = np.select([np.arange(STEPS) < 400, np.arange(STEPS) < 1000], [0.05, 0.005], 0.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-7 * 0.05)


# 10 steps of warm-up to 1, then 20 of cosine down to 0.2.
COSINE = schedules.warmup_cosine(1.0, total_steps=30, warmup_steps=10, share=0.2)
STAIRS = schedules.staircase(0.8, total_steps=16, share=0.125, levels=4)
PIECES = schedules.piecewise_constant([(0, 0.05), (2, 0.005), (5, -1)], steps_per_epoch=3)
# The phase starts with epoch 4 of the file.
SHIFTED = schedules.piecewise_constant([(-4, 0.05), (-1, 0.01), (1, 0.005)], steps_per_epoch=3)

POINTS = [
    (COSINE, 0, 0.0),
    (COSINE, 5, 0.5),
    (COSINE, 10, 1.0),
    (COSINE, 15, 0.2 + 0.4 * (1 + math.cos(math.pi / 4))),
    (COSINE, 20, 0.6),
    (COSINE, 30, 0.2),
    (COSINE, 1000, 0.2),
    (schedules.warmup_cosine(1.0, 10), 0, 1.0),
    (schedules.warmup_cosine(1.0, 10), 5, 0.5),
    (STAIRS, 0, 0.8),
    (STAIRS, 3, 0.8),
    (STAIRS, 4, 0.4),
    (STAIRS, 11, 0.2),
    (STAIRS, 12, 0.1),
    (PIECES, 0, 0.05),
    (PIECES, 5, 0.05),
    (PIECES, 6, 0.005),
    (PIECES, 14, 0.005),
    (PIECES, 15, 0.0),
    (SHIFTED, 0, 0.01),
    (SHIFTED, 2, 0.01),
    (SHIFTED, 3, 0.005),
]


@pytest.mark.parametrize(("schedule", "step", "expected"), POINTS)
def test_rate_by_hand(schedule, step, expected):
    for kind in (int, np.int64, tf.constant, lambda s: tf.constant(s, tf.float32)):
        rate = schedule(kind(step))
        assert rate.dtype == tf.float32
        assert float(rate) == pytest.approx(expected, rel=1e-6)


def test_one_milestone_is_a_constant_rate():
    assert schedules.piecewise_constant([(3, 0.1)], 2) == 0.1


def test_optimizer_takes_the_rate_of_each_step():
    weight = keras.Variable(0.0)
    optimizer = keras.optimizers.SGD(schedules.piecewise_constant([(0, 1.0), (1, 0.25)], 2))
    step = tf.function(lambda: optimizer.apply([tf.constant(-1.0)], [weight]))
    seen = []
    for _ in range(4):
        step()
        seen.append(float(weight))
    np.testing.assert_allclose(seen, [1.0, 2.0, 2.25, 2.5])


def test_staircase_between_two_rates():
    schedule = schedules.staircase(1.0, 90, 0.01, levels=3)
    expected = [1.0] * 30 + [0.1] * 30 + [0.01] * 30
    np.testing.assert_allclose([schedule(step) for step in range(90)], expected, rtol=1e-6)


def test_a_staircase_to_zero_is_an_error():
    with pytest.raises(ValueError, match="min_learning_rate must be above 0"):
        schedules.staircase(1.0, 90, 0.0)


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "schedule.txt"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def settings_of(schedule, **changes):
    """Settings of train.py that a schedule depends on."""
    return {"schedule": schedule, "phases": ["all:9"], "lr_batch": None, "min_learning_rate": 0.01, **changes}


def test_read_schedule_file(write):
    path = write("# Learning rate schedule\n\n0:  0.05\n60: 5e-3   # slower\n\n 80 : 0.0005\n91: -1\n")
    milestones = schedules.read_schedule_file(path)
    assert milestones == [(0, 0.05), (60, 0.005), (80, 0.0005), (91, schedules.STOP)]
    assert schedules.end_of_schedule(settings_of(path)) == 91
    schedule = schedules.piecewise_constant(milestones, steps_per_epoch=10)
    rates = [float(schedule(10 * epoch)) for epoch in (0, 59, 60, 79, 80, 90, 91)]
    np.testing.assert_allclose(rates, [0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005, 0.0], rtol=1e-6)


@pytest.mark.parametrize("stop", ["-", "-1", "0", "0.0"])
def test_a_rate_that_is_not_positive_stops(write, stop):
    assert schedules.read_schedule_file(write(f"0: 0.1\n3: {stop}")) == [(0, 0.1), (3, -1.0)]


def test_a_schedule_may_have_no_end(write):
    assert schedules.end_of_schedule(settings_of(write("0: 0.1"))) == sys.maxsize


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0: 0.1\nten: 0.01", r"schedule.txt:2: 'ten: 0.01' is not 'epoch: learning rate'"),
        ("0 0.1", r"schedule.txt:1: '0 0.1' is not"),
        ("0:", r"schedule.txt:1: '0:' is not"),
        ("-2: 0.1", r"schedule.txt:1"),
        ("0: nan", r"schedule.txt:1"),
        ("0: 0.1\n\n# comment\n0: 0.2", r"schedule.txt:4: epoch 0 does not come after"),
        ("5: 0.1\n2: 0.2", r"schedule.txt:2: epoch 2 does not come after"),
        ("0: 0.1\n2: -1\n3: 0.1", r"schedule.txt:3: epoch 3 comes after the end"),
        ("", r"schedule.txt: sets no learning rate"),
        ("0: -1", r"schedule.txt: sets no learning rate"),
    ],
)
def test_errors_name_the_file_and_the_line(write, text, message):
    with pytest.raises(ValueError, match=message):
        schedules.read_schedule_file(write(text))


@pytest.mark.parametrize(("rate", "batch", "lr_batch", "scaled"), [(1e-3, 256, 64, 4e-3), (1e-2, 32, 128, 2.5e-3)])
def test_the_rate_is_scaled_with_the_batch(rate, batch, lr_batch, scaled):
    chosen = settings_of("constant", lr_batch=lr_batch)
    assert schedules.phase_schedule(chosen, rate, batch, 10, range(5)) == pytest.approx(scaled)
