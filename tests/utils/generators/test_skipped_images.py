import numpy as np

from tests.utils.generators.test_recognition import SAMPLERS, broken, faces  # noqa: F401  fixtures
from utils.generators.skipped_images import SkippedImages, check_files


def test_skipped_images_starts_where_the_stream_does(faces):  # noqa: F811
    skipped = SkippedImages(faces, SAMPLERS["plain"], start=12)
    assert skipped.update(np.array([12, 13])) == []
    assert skipped.update(np.array([], np.int64)) == []
    # The file is sound now, yet its sample did not come.
    assert skipped.update(np.array([15, 16])) == list(skipped.files)
    assert skipped.dropped == 1 and "when its turn came" in [*skipped.files.values()][0]


def test_check_files(broken, tmp_path):  # noqa: F811
    bad = check_files([*broken, str(tmp_path)])
    assert [path for path, _ in bad] == [broken[10], broken[11]]
    assert "empty" in bad[0][1] and "No such file" in bad[1][1]
    assert check_files([]) == []
