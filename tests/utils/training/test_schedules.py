import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils.training import schedules
from utils.training.schedules import Phase, PiecewiseConstant, StepDecay, WarmupCosine, read_phases

# 10 steps of warm-up from 0.1 to 1, then 20 of cosine down to 0.2.
COSINE = WarmupCosine(1.0, total_steps=30, warmup_steps=10, minimum=0.2, start=0.1)
STAIRS = StepDecay(0.8, factor=0.5, every=4)
PIECES = PiecewiseConstant([(0, 0.05), (2, 0.005), (5, -1)], steps_per_epoch=3)

POINTS = [
    (COSINE, 0, 0.1),
    (COSINE, 5, 0.55),
    (COSINE, 10, 1.0),
    (COSINE, 15, 0.2 + 0.4 * (1 + math.cos(math.pi / 4))),
    (COSINE, 20, 0.6),
    (COSINE, 30, 0.2),
    (COSINE, 1000, 0.2),
    (WarmupCosine(1.0, 10), 0, 1.0),
    (WarmupCosine(1.0, 10), 5, 0.5),
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
    (PiecewiseConstant([(3, 0.1)], 2), 0, 0.1),
]


@pytest.mark.parametrize(("schedule", "step", "expected"), POINTS)
def test_rate_by_hand(schedule, step, expected):
    for kind in (int, np.int64, tf.constant, lambda s: tf.constant(s, tf.float32)):
        rate = schedule(kind(step))
        assert rate.dtype == tf.float32
        assert float(rate) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("schedule", [COSINE, STAIRS, PIECES])
def test_schedule_survives_its_config_and_the_optimizer(schedule):
    serialized = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(serialized)
    assert type(again) is type(schedule)
    for step in (0, 7, 14):
        assert float(again(step)) == float(schedule(step))
    optimizer = keras.optimizers.SGD.from_config(keras.optimizers.SGD(schedule).get_config())
    assert float(optimizer.learning_rate) == float(schedule(0))


def test_optimizer_takes_the_rate_of_each_step():
    weight = keras.Variable(0.0)
    optimizer = keras.optimizers.SGD(PiecewiseConstant([(0, 1.0), (1, 0.25)], steps_per_epoch=2))
    step = tf.function(lambda: optimizer.apply([tf.constant(-1.0)], [weight]))
    seen = []
    for _ in range(4):
        step()
        seen.append(float(weight))
    np.testing.assert_allclose(seen, [1.0, 2.0, 2.25, 2.5])


def test_step_decay_between_two_rates():
    schedule = StepDecay.between(1.0, 0.01, total_steps=90, levels=3)
    expected = [1.0] * 30 + [0.1] * 30 + [0.01] * 30
    np.testing.assert_allclose([schedule(step) for step in range(90)], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: WarmupCosine(1.0, 10, warmup_steps=10), "warmup_steps 10"),
        (lambda: WarmupCosine(1.0, 0), "total_steps 0"),
        (lambda: StepDecay(1.0, 0.5, 0), "every 0"),
    ],
)
def test_impossible_schedules_are_errors(build, words):
    with pytest.raises(ValueError, match=words):
        build()


# ---- files


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "schedule.txt"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_read_schedule_file(write):
    path = write(
        "# Learning rate schedule\n\n0:  0.05\n60: 5e-3   # slower\n\n 80 : 0.0005\n91: -1\n"
    )
    milestones = schedules.read_schedule_file(path)
    assert milestones == [(0, 0.05), (60, 0.005), (80, 0.0005), (91, schedules.STOP)]
    assert schedules.last_epoch(milestones) == 91
    schedule = PiecewiseConstant(milestones, steps_per_epoch=10)
    rates = [float(schedule(10 * epoch)) for epoch in (0, 59, 60, 79, 80, 90, 91)]
    np.testing.assert_allclose(rates, [0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005, 0.0], rtol=1e-6)


@pytest.mark.parametrize("stop", ["-", "-1", "0", "0.0"])
def test_a_rate_that_is_not_positive_stops(write, stop):
    assert schedules.read_schedule_file(write(f"0: 0.1\n3: {stop}")) == [(0, 0.1), (3, -1.0)]


def test_a_schedule_may_have_no_end(write):
    assert schedules.last_epoch(schedules.read_schedule_file(write("0: 0.1"))) is None


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


# ---- scaling with the batch size


def test_scaled_learning_rate():
    assert schedules.scaled_learning_rate(1e-3, 256) == pytest.approx(4e-3)
    assert schedules.scaled_learning_rate(1e-2, 32, 128) == pytest.approx(2.5e-3)


def test_reads():
    assert read_phases(["frozen:10", "all:40:1e-4", "all:5:0.1:16"]) == [
        Phase(True, 10),
        Phase(False, 40, 1e-4),
        Phase(False, 5, 0.1, 16),
    ]


@pytest.mark.parametrize("text", ["", "all", "some:3", "all:x", "all:0", "all:1:a", "all:1:1:1:1"])
def test_refuses(text):
    with pytest.raises(ValueError, match="phases"):
        read_phases([text])


def test_needs_one():
    with pytest.raises(ValueError, match="at least one"):
        read_phases([])
