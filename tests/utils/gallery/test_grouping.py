import numpy as np
import pytest

from tests.fake_embedder import photo
from tests.utils.gallery.conftest import ANN, BOB
from tests.utils.gallery.test_photo_naming import table
from utils.gallery import grouping
from utils.images.image_files import read_image


@pytest.mark.parametrize("method", ["agglomerative", "dbscan"])
def test_group(run, settings, tmp_path, method):
    settings["cluster_method"] = method
    for number, green in enumerate([ANN, BOB, ANN + 6, BOB + 6, ANN + 3, 220]):
        photo(tmp_path / f"photos/{number}.png", green)
    photo(tmp_path / "photos/nobody.png", 50, faces=0)
    stale = tmp_path / "out/clusters/group_003.jpg"
    photo(stale, 1)
    lines, _ = run(grouping.group, tmp_path / "photos")
    assert lines[0].startswith("6 faces in 2 groups, 1 in none")
    assert lines[1:] == ["  group_001.jpg: 3 faces", "  group_002.jpg: 2 faces"]
    rows = table(tmp_path / "out/cluster.csv")
    assert [row["group"] for row in rows] == ["1", "2", "1", "2", "1", ""]
    assert sorted(p.name for p in stale.parent.iterdir()) == ["group_001.jpg", "group_002.jpg"]
    sheet = read_image(stale.with_name("group_001.jpg"))
    greens = sheet[48, 48 : 4 * 96 : 96, 1]
    np.testing.assert_allclose(greens, [ANN, ANN + 6, ANN + 3, 255], atol=2)


def test_group_threshold_is_a_setting(run, settings, tmp_path):
    for number, green in enumerate([ANN, ANN + 20]):
        photo(tmp_path / f"photos/{number}.png", green)
    settings["cluster_threshold"] = 0.1
    assert run(grouping.group, tmp_path / "photos")[0][0].startswith("2 faces in 0 groups, 2 in none")


def test_group_of_no_faces(run, tmp_path):
    path = photo(tmp_path / "photos/a.png", 1, faces=0)
    assert run(grouping.group, path)[0][0].startswith("0 faces in 0 groups, 0 in none")
    assert table(tmp_path / "out/cluster.csv") == []
