import numpy as np
import pytest
from scipy.io import savemat

from tests.shared import need
from utils.evaluation.widerface_results import (
    SETTINGS,
    read_ground_truth,
    read_result,
    read_results,
    result_path,
    write_result,
)
from utils.faces.detections import Detections

EVENT, NAME = "0--Parade", "0_Parade_marchingband_1_465"
ROWS = np.array([[1.5, 2, 11.5, 22, 0.25], [100, 200, 150.125, 300, 0.9999999]], np.float32)


def faces_of(rows):
    """The detections of rows x1 y1 x2 y2 score."""
    rows = np.asarray(rows, np.float32)
    return Detections(rows[:, :4], rows[:, 4], np.zeros((len(rows), 5, 2)))


def test_write_result_layout(tmp_path):
    path = result_path(tmp_path, EVENT, NAME)
    assert path == tmp_path / EVENT / f"{NAME}.txt"
    write_result(path, faces_of(ROWS))
    assert path.read_text() == (
        f"{NAME}\n2\n100.0000 200.0000 50.1250 100.0000 0.999999881\n1.5000 2.0000 10.0000 20.0000 0.25\n"
    )
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_results_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    rows = np.hstack([rng.random((50, 2)) * 999, 999 + rng.random((50, 2)), rng.random((50, 1))])
    rows = rows.astype(np.float32)[np.argsort(-rows[:, 4])]
    for name in (NAME, "Größe.v2"):
        write_result(result_path(tmp_path, EVENT, name), faces_of(rows))
    results = read_results(tmp_path)
    assert set(results) == {(EVENT, NAME), (EVENT, "Größe.v2")}
    for found in results.values():
        np.testing.assert_allclose(found[:, :4], rows[:, :4], atol=2e-4)
        np.testing.assert_array_equal(found[:, 4].astype(np.float32), rows[:, 4])


def test_no_detections(tmp_path):
    path = result_path(tmp_path, EVENT, NAME)
    write_result(path, Detections.empty())
    assert path.read_text() == f"{NAME}\n0\n"
    assert read_result(path).shape == (0, 5)


def test_write_result_keeps_the_best_first(tmp_path):
    path = result_path(tmp_path, EVENT, NAME)
    write_result(path, faces_of(ROWS[::-1]))
    np.testing.assert_allclose(read_result(path), ROWS[::-1], atol=1e-4)


def test_write_result_refuses(tmp_path):
    with pytest.raises(ValueError, match="NaN"):
        write_result(result_path(tmp_path, EVENT, NAME), faces_of([[1, 2, 3, 4, np.nan]]))
    assert not list(tmp_path.rglob("*.txt"))


@pytest.mark.parametrize("text", ["a.jpg\r\n1\r\n1 2 3 4 .5 \r\n", "a\n1\n1\t2\t3\t4\t0.5", "a\n0\n\n"])
def test_read_result_forgives(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    expected = [] if text == "a\n0\n\n" else [[1, 2, 4, 6, 0.5]]
    assert read_result(path).tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.txt:2: expected the number of faces, got ''"),
        ("a\n", "a.txt:2: expected the number"),
        ("a\nmany\n", "a.txt:2: .* got 'many'"),
        ("a\n1\n1 2 3 4\n", "a.txt:3: expected `x y w h score`"),
        ("a\n2\n1 2 3 4 0.5\n1 2 3 4 x\n", "a.txt:4: expected"),
        ("a\n2\n1 2 3 4 0.5\n1 2 3 4 nan\n", "a.txt:4: expected"),
        ("a\n3\n1 2 3 4 0.5\n\n1 2 3 4 0.5\n", "a.txt:4: expected"),
        ("a\n1\n1 2 3 4 0.5 1 2 3 4 0.5\n", "a.txt:3: expected"),
        ("a\n2\n1 2 3 4\n5 0.5 1 2 3 4\n", "a.txt:3: expected"),
        ("a\n1\n\udcff 2 3 4 0.5\n", "a.txt:3: expected"),
        ("a\n3\n1 2 3 4 0.5\n1 2 3 4 0.5\n", "a.txt:2: says 3 faces, but 2 lines follow"),
        ("a\n0\n1 2 3 4 0.5\n", "a.txt:2: says 0 faces, but 1 lines follow"),
    ],
)
def test_read_results_names_the_malformed_line(tmp_path, text, message):
    (tmp_path / EVENT).mkdir()
    (tmp_path / EVENT / "a.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message) as caught:
        read_results(tmp_path)
    assert "\n" not in str(caught.value)


def test_read_results_refuses_a_wrong_folder(tmp_path):
    with pytest.raises(ValueError, match="not a folder of results"):
        read_results(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no result"):
        read_results(tmp_path)


def test_official_ground_truth():
    truth = read_ground_truth(need("data/wider/wider_face_val.mat").parent)
    assert len(truth.images) == len(truth.boxes) == 3226
    assert len({event for event, _ in truth.images}) == 61
    assert truth.images[0] == (EVENT, NAME)
    assert truth.boxes[0][0].tolist() == [345, 211, 349, 215]
    assert max(map(len, truth.boxes)) == 709 and sum(map(len, truth.boxes)) == 39708
    counts = {setting: sum(mask.sum() for mask in truth.keep[setting]) for setting in SETTINGS}
    assert counts == {"easy": 7211, "medium": 13319, "hard": 31958}
    for setting in SETTINGS:
        assert list(map(len, truth.keep[setting])) == list(map(len, truth.boxes))


def cells(items):
    """A MATLAB cell column."""
    column = np.empty((len(items), 1), object)
    column[:, 0] = items
    return column


def save_ground_truth(folder, keep, box_sets=2):
    boxes = [np.array([[10, 20, 30, 40], [50, 60, 7, 8]]), np.array([[1, 2, 3, 4]])][:box_sets]
    savemat(
        folder / "wider_face_val.mat",
        {
            "event_list": cells(["0--Parade", "9--Press"]),
            "file_list": cells([cells(["one"]), cells(["two"])]),
            "face_bbx_list": cells([cells([item]) for item in boxes]),
        },
    )
    for setting in SETTINGS:
        groups = cells([cells([np.array(numbers).reshape(-1, 1)]) for numbers in keep])
        savemat(folder / f"wider_{setting}_val.mat", {"gt_list": groups})


def test_read_ground_truth_by_hand(tmp_path):
    save_ground_truth(tmp_path, keep=[[2], []])
    truth = read_ground_truth(tmp_path)
    assert truth.images == [("0--Parade", "one"), ("9--Press", "two")]
    assert truth.boxes[0].tolist() == [[10, 20, 40, 60], [50, 60, 57, 68]]
    assert [mask.tolist() for mask in truth.keep["hard"]] == [[False, True], [False]]
    assert truth.select([1]).images == [("9--Press", "two")]
    assert truth.select([1]).keep["easy"][0].tolist() == [False]


def overwrite(name, content):
    def spoil(folder):
        (folder / name).write_bytes(content)

    return spoil


def replace_table(name, table):
    return lambda folder: savemat(folder / name, table)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "wider_easy_val.mat").unlink(), "wider_easy_val.mat: missing"),
        (overwrite("wider_face_val.mat", b""), "wider_face_val.mat: not a readable .mat file"),
        (overwrite("wider_face_val.mat", b"x" * 500), "wider_face_val.mat: not a readable"),
        (overwrite("wider_hard_val.mat", b"\x89HDF\r\n\x1a\n" * 90), "wider_hard_val.mat: not a"),
        (replace_table("wider_face_val.mat", {"file_list": 1}), "has no event_list, face_bbx_list"),
        (replace_table("wider_easy_val.mat", {"other": 1}), "wider_easy_val.mat: has no gt_list"),
        (replace_table("wider_easy_val.mat", {"gt_list": 1}), "wider_easy_val.mat: not WIDER FACE"),
        (
            replace_table("wider_face_val.mat", {"file_list": 1, "event_list": 2, "face_bbx_list": 3}),
            "wider_face_val.mat: not WIDER FACE ground truth",
        ),
        (lambda folder: save_ground_truth(folder, [[3], []]), "keeps face 3 of an image with 2"),
        (lambda folder: save_ground_truth(folder, [[0], []]), "keeps face 0 of an image with 2"),
        (lambda folder: save_ground_truth(folder, [[1]]), "1 images, but wider_face_val.mat has 2"),
        (lambda folder: save_ground_truth(folder, [[1], []], 1), "2 images but 1 sets of boxes"),
    ],
)
def test_read_ground_truth_refuses(tmp_path, spoil, message):
    save_ground_truth(tmp_path, keep=[[2], []])
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        read_ground_truth(tmp_path)
    assert "\n" not in str(caught.value)


def test_read_ground_truth_refuses_a_wrong_folder(tmp_path):
    with pytest.raises(ValueError, match="wider_face_val.mat: missing"):
        read_ground_truth(tmp_path / "nowhere")
