import pytest

from utils.training.phases import Phase, read_phases


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
