import pytest

from utils.datasets.report import KEPT, NO_FACE, Report, Row, write_report

A = Row("a/1.jpg", "a", KEPT, crop="a/1.jpg", settings="s")
B = Row('张/"2", 3.jpg', "张", NO_FACE, "line\nbreak", settings="s")


def test_round_trip(tmp_path):
    path = tmp_path / "report.csv"
    write_report(path, [A, B])
    assert list(Report(path).rows.values()) == [A, B._replace(detail="line break")]
    assert Report(path).crops == {"a/1.jpg"}


def test_no_report_yet(tmp_path):
    assert Report(tmp_path / "report.csv").rows == {}


def test_append_makes_the_file_and_later_rows_count(tmp_path):
    report = Report(tmp_path / "new" / "report.csv")
    report.append([A, A._replace(file="a/2.jpg", crop="a/2.png")])
    report.append([A._replace(result=NO_FACE, crop="")])
    assert report.rows["a/1.jpg"].result == NO_FACE
    assert report.crops == {"a/1.jpg", "a/2.png"}
    assert Report(report.path).rows == report.rows
    assert report.path.read_text().count("file,person") == 1


def test_two_processes_see_each_other(tmp_path):
    first, second = Report(tmp_path / "report.csv"), Report(tmp_path / "report.csv")
    first.append([A])
    assert second.rows == {}
    second.append([B._replace(detail="")])
    assert set(second.rows) == {A.file, B.file}
    first.refresh()
    assert first.rows == second.rows
    write_report(first.path, [A])  # sorted by one while the other goes on
    second.append([A._replace(file="a/9.jpg")])
    assert set(second.rows) == {A.file, B.file, "a/9.jpg"}
    assert set(Report(first.path).rows) == {A.file, "a/9.jpg"}


@pytest.mark.parametrize("cut", [1, 2, 9, 20])
def test_a_line_cut_short_does_not_count_and_harms_no_other(tmp_path, cut):
    path = tmp_path / "report.csv"
    write_report(path, [A, B])
    path.write_bytes(path.read_bytes()[:-cut])
    report = Report(path)
    assert list(report.rows) == [A.file]
    after = A._replace(file="a/8.jpg")
    report.append([after])
    assert Report(path).rows[A.file] == A
    assert Report(path).rows["a/8.jpg"] == after


def test_a_line_that_is_being_written_is_read_when_whole(tmp_path):
    path = tmp_path / "report.csv"
    write_report(path, [A, B])
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    report = Report(path)
    with open(path, "ab") as file:
        file.write(content[-5:])
    report.refresh()
    assert list(report.rows) == [A.file, B.file]


def test_another_csv_is_refused(tmp_path):
    (tmp_path / "report.csv").write_text("name,age\nx,3\n")
    with pytest.raises(ValueError, match=r"report\.csv: not a report of an alignment"):
        Report(tmp_path / "report.csv")


def test_an_empty_file_is_a_report(tmp_path):
    (tmp_path / "report.csv").touch()
    report = Report(tmp_path / "report.csv")
    report.append([A])
    assert Report(report.path).rows == {A.file: A}
