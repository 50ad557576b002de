import h5py
import numpy as np
import pytest

from utils.faces.embeddings import unit_embeddings
from utils.gallery.classifier import ClassifierError, FaceClassifier, enough_images, split, train


def faces(people=4, each=8, width=16, spread=0.5, seed=0):
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).standard_normal((people, width))
    labels = [f"Pärson {number}" for number in range(people) for _ in range(each)]
    rows = np.repeat(centers, each, axis=0) + spread * rng.standard_normal((people * each, width))
    return unit_embeddings(rows), labels


@pytest.mark.parametrize("people", [2, 3, 7])
def test_decisions_are_those_of_scikit_learn(people):
    from sklearn.svm import LinearSVC

    embeddings, labels = faces(people, spread=1.5)
    classifier = train(embeddings, labels)
    svm = LinearSVC(random_state=0).fit(embeddings, labels)
    probes, _ = faces(people, spread=1.5, seed=1)
    expected = svm.decision_function(probes)
    if people == 2:
        expected = np.stack([-expected, expected], axis=1)
    np.testing.assert_allclose(classifier.decisions(probes), expected, atol=1e-9)
    assert [name for name, _ in classifier.predict(probes)] == svm.predict(probes).tolist()
    assert classifier.names == tuple(svm.classes_)


def test_names_and_accuracy():
    embeddings, labels = faces()
    classifier = train(embeddings, labels)
    probes, truth = faces(seed=1)
    assert classifier.accuracy(probes, truth) == 1
    assert classifier.accuracy(probes, truth[1:] + ["somebody else"]) == pytest.approx(28 / 32)


def test_decision_by_hand():
    classifier = FaceClassifier(("Ann", "Bob"), np.array([[2.0, 0], [0, 1]]), np.array([-1.0, 0]))
    assert classifier.decisions([[1, 3]]).tolist() == [[1, 3]]
    ((name, probability),) = classifier.predict([[1, 3]])
    assert name == "Bob" and probability == pytest.approx(1 / (1 + np.exp(-2)))


def test_probabilities_match_how_often_it_is_right():
    embeddings, labels = faces(8, 20, spread=2.5)
    classifier = train(embeddings, labels)
    probes, truth = faces(8, 200, spread=2.5, seed=1)
    sure = np.mean([probability for _, probability in classifier.predict(probes)])
    accuracy = classifier.accuracy(probes, truth)
    assert 0.4 < accuracy < 0.9
    assert sure == pytest.approx(accuracy, abs=0.1)


def test_one_photo_of_somebody_will_do():
    embeddings, labels = faces()
    classifier = train(embeddings[:9], labels[:9])
    assert classifier.scale == 1
    assert classifier.accuracy(embeddings[:9], labels[:9]) == 1


@pytest.mark.parametrize("least, kept", [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 1, 3, 5]), (4, [])])
def test_enough_images(least, kept):
    assert enough_images(["a", "b", "c", "a", "d", "b"], least).tolist() == kept


def test_split():
    labels = ["a"] * 5 + ["b"] * 2 + ["c"] * 3
    train_rows, test_rows = split(labels, 3)
    assert np.union1d(train_rows, test_rows).tolist() == list(range(10))
    assert len(np.intersect1d(train_rows, test_rows)) == 0
    counts = {name: [labels[i] for i in train_rows].count(name) for name in "abc"}
    assert counts == {"a": 3, "b": 2, "c": 3}
    assert split(labels, 3)[0].tolist() == train_rows.tolist()
    assert any(split(labels, 3, seed)[0].tolist() != train_rows.tolist() for seed in range(1, 5))
    assert [part.tolist() for part in split([], 3)] == [[], []]


def test_round_trip(tmp_path):
    embeddings, labels = faces()
    classifier = train(embeddings, labels, identity={"weights": "aa"})
    path = tmp_path / "ordner é" / "classifier.h5"
    classifier.save(path)
    loaded = FaceClassifier.load(path, identity={"weights": "aa"})
    assert loaded.predict(embeddings) == classifier.predict(embeddings)
    assert (loaded.names, loaded.identity) == (classifier.names, {"weights": "aa"})
    assert b"pickle" not in path.read_bytes() and b"sklearn" not in path.read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["classifier.h5"]


class TestUnusableFiles:
    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "classifier.h5"
        train(*faces(), identity={"weights": "aa"}).save(path)
        return path

    def test_another_network(self, path):
        with pytest.raises(ClassifierError, match="classifier.h5: .*another network .weights aa"):
            FaceClassifier.load(path, identity={"weights": "bb"})

    @pytest.mark.parametrize("damage", [lambda d: b"", lambda d: d[:-50], lambda d: b"\x80pickle"])
    def test_damaged(self, path, damage):
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(ClassifierError, match="classifier.h5: damaged, or not a classifier"):
            FaceClassifier.load(path)

    def test_missing(self, path):
        with pytest.raises(ClassifierError, match="none.h5: no such classifier"):
            FaceClassifier.load(path.with_name("none.h5"))

    @pytest.mark.parametrize("name, value", [("format", "else"), ("version", 99)])
    def test_other_files(self, path, name, value):
        with h5py.File(path, "r+") as file:
            file.attrs[name] = value
        with pytest.raises(ClassifierError, match="classifier.h5: (an HDF5 file, but|layout 99)"):
            FaceClassifier.load(path)

    def test_parts_that_do_not_fit(self, path):
        with h5py.File(path, "r+") as file:
            del file["names"]
            file["names"] = np.array(["Ann"], h5py.string_dtype())
        with pytest.raises(ClassifierError, match="do not fit"):
            FaceClassifier.load(path)


@pytest.mark.parametrize(
    "embeddings, labels, message",
    [
        (np.ones((2, 3)), ["a", "a"], "two people or more, there are 1"),
        (np.ones((0, 3)), [], "two people or more, there are 0"),
        (np.ones((2, 3)), ["a"], "of 1 labels"),
    ],
)
def test_refusals(embeddings, labels, message):
    with pytest.raises(ValueError, match=message):
        train(embeddings, labels)


def test_embeddings_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"\(N, 16\), got \(1, 3\)"):
        train(*faces()).decisions(np.ones((1, 3)))
