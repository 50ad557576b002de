import cv2
import numpy as np
import pytest

from utils.video.writer import VideoWriter


def picture(level, height=48, width=64):
    image = np.full((height, width, 3), level, np.uint8)
    image[:, : width // 2, 0] = 250  # red on the left
    return image


def read(path):
    capture = cv2.VideoCapture(str(path))
    fps, frames = capture.get(cv2.CAP_PROP_FPS), []
    while (result := capture.read())[0]:
        frames.append(result[1][..., ::-1])
    return fps, frames


@pytest.mark.parametrize("ending", [".mp4", ".avi", ".mkv", ".mov", ".m4v", ".MP4"])
@pytest.mark.parametrize("size", [(48, 64), (49, 65)])
def test_round_trip(tmp_path, ending, size):
    path = tmp_path / "new" / f"фильм{ending}"
    with VideoWriter(path, 20) as writer:
        for i in range(10):
            writer.write(picture(20 * i, *size), i / 20)
        assert not path.exists()
    fps, frames = read(path)
    assert fps == pytest.approx(20) and len(frames) == 10
    assert frames[0].shape == (48, 64, 3)
    levels = [frame[:, 40:].mean() for frame in frames]
    np.testing.assert_allclose(levels, 20 * np.arange(10), atol=8)
    left = frames[0][:, 4:24].reshape(-1, 3).mean(axis=0)
    assert left[0] > 200 and left[2] < 50
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "seconds, expected",
    [
        ([5.0, 5.1, 5.2], [0, 1, 2]),
        ([0.0, 0.3, 0.4], [0, 1, 1, 1, 2]),  # the second came late, so it stays
        ([0.0, 0.02, 0.04, 0.1], [0, 3]),  # too fast for the file
        ([0.0, 100.0, 100.1], [0, *[1] * 20, 2]),  # a gap is two seconds at most
    ],
)
def test_the_file_plays_as_fast_as_life(tmp_path, seconds, expected):
    with VideoWriter(tmp_path / "a.avi", 10) as writer:
        for i, second in enumerate(seconds):
            writer.write(picture(50 * i), second)
    levels = [round(frame[:, 40:].mean() / 50) for frame in read(tmp_path / "a.avi")[1]]
    assert levels == expected


def test_after_an_error_the_file_can_be_played(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", 10) as writer:
        writer.write(picture(0), 0.0)
        writer.write(picture(0), 0.1)
        raise KeyboardInterrupt
    assert len(read(tmp_path / "a.mp4")[1]) == 2


def test_without_pictures_what_was_there_stays(tmp_path):
    (tmp_path / "a.mp4").write_text("old")
    with VideoWriter(tmp_path / "a.mp4", 10):
        pass
    assert (tmp_path / "a.mp4").read_text() == "old"


def test_pictures_of_another_size_are_fitted_in(tmp_path):
    with VideoWriter(tmp_path / "a.avi", 10) as writer:
        writer.write(picture(100), 0.0)
        writer.write(picture(100, 96, 64), 0.1)
    frames = read(tmp_path / "a.avi")[1]
    assert frames[1].shape == (48, 64, 3)
    assert frames[1][:, :10].mean() < 20 < 80 < frames[1][:, 34:46].mean()


def test_what_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"a\.gif: cannot write '\.gif'; use \.mp4"):
        VideoWriter(tmp_path / "a.gif", 10)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OSError, match="folder.mp4: cannot be written"):
        VideoWriter(tmp_path / "folder.mp4", 10)
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        VideoWriter(tmp_path / "file" / "a.mp4", 10)
    monkeypatch.setattr("utils.video.writer._CODECS", {".mp4": ("none",)})
    writer = VideoWriter(tmp_path / "a.mp4", 10)
    with pytest.raises(OSError, match="a.mp4: OpenCV cannot write"):
        writer.write(picture(0), 0.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.mp4"]
