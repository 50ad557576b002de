import doctest
import errno
import os
import shutil
import subprocess
import sys
import threading
import time
import unicodedata
from pathlib import Path

import h5py
import numpy as np
import pytest
from filelock import FileLock

from tests.fake_embedder import FakeEmbedder, embedding, photo
from utils.faces.embeddings import unit_embeddings
from utils.gallery import gallery as module
from utils.gallery import storage
from utils.gallery.gallery import Gallery, GalleryError
from utils.gallery.index import UNKNOWN

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "galerie é" / "gallery.h5"


@pytest.fixture
def folder(tmp_path):
    """Ann with two photos, Bob in the flat layout, and photos that cannot be used."""
    root = tmp_path / "photos"
    photo(root / "Ann" / "a.png", 10)
    photo(root / "Ann" / "b.png", 14)
    photo(root / "Bob_1.png", 100)
    photo(root / "张三" / "1.png", 200)
    photo(root / "Ann" / "0 empty.png", 50, faces=0)
    photo(root / "Bob_0.png", 60, faces=3)
    (root / "Ann" / "broken.jpg").write_bytes(b"no jpeg")
    return root


def random_rows(count, width=8, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width))


def content(path):
    """{name: sorted embeddings} as read by another object."""
    state = {}
    for name, row in zip(*Gallery(path).labelled(), strict=True):
        state.setdefault(name, []).append(row.tobytes())
    return {name: sorted(rows) for name, rows in state.items()}


def as_bytes(rows):
    return sorted(row.tobytes() for row in unit_embeddings(rows))


class TestPeople:
    def test_a_gallery_that_is_not_there_is_empty(self, path):
        gallery = Gallery(path)
        assert (len(gallery), gallery.people(), gallery.identity) == (0, {}, None)
        assert gallery and not path.exists()
        assert gallery.identify(random_rows(2), 1)[1].name == UNKNOWN

    def test_round_trip(self, path):
        gallery = Gallery(path, identity={"weights": "aa"})
        ann, bob = random_rows(3), random_rows(300, seed=1)
        gallery.add("Ann", ann)
        gallery.add("Bøb 张", bob)
        gallery.add("Ann", ann[0])
        assert gallery.people() == {"Ann": 4, "Bøb 张": 300}
        assert len(gallery) == 304
        assert content(path) == {"Ann": as_bytes([*ann, ann[0]]), "Bøb 张": as_bytes(bob)}
        assert Gallery(path).identity == {"weights": "aa"}
        assert [file.name for file in path.parent.iterdir()] == ["gallery.h5"]

    def test_search_sees_what_was_added(self, path):
        gallery, rows = Gallery(path), random_rows(5)
        gallery.add("Ann", rows[:2])
        assert gallery.search(rows[:1], 5).names.tolist() == [["Ann", "Ann"]]
        gallery.add("Bob", rows[2:])
        assert gallery.search(rows[4:], 1).names.tolist() == [["Bob"]]
        assert gallery.identify(rows[3:4], 0.1)[0].name == "Bob"
        assert gallery.calibrate().people == 2

    def test_refresh_shows_what_others_added(self, path):
        first, second = Gallery(path), Gallery(path)
        first.add("Ann", random_rows(1))
        first.search(random_rows(1))
        second.add("Bob", random_rows(1, seed=1))
        assert first.people() == {"Ann": 1, "Bob": 1}
        assert first.search(random_rows(1, seed=1)).names[0, 0] == "Ann"
        first.refresh()
        assert first.search(random_rows(1, seed=1)).names[0, 0] == "Bob"

    @pytest.mark.parametrize("removed", ["a", "b", "c"])
    def test_remove_keeps_the_others(self, path, removed):
        gallery = Gallery(path)
        rows = {name: random_rows(200, seed=seed) for seed, name in enumerate("abc")}
        for name, values in rows.items():
            gallery.add(name, values)
        assert gallery.remove(removed) == 200
        expected = {name: as_bytes(values) for name, values in rows.items() if name != removed}
        assert content(path) == expected

    def test_remove_erases(self, path):
        gallery = Gallery(path)
        gallery.add("Ann", np.eye(8)[:3])
        gallery.add("Zacharias", random_rows(2))
        row = unit_embeddings(random_rows(2))[0].tobytes()
        assert row in path.read_bytes() and b"Zacharias" in path.read_bytes()
        gallery.remove("Zacharias")
        assert row not in path.read_bytes() and b"Zacharias" not in path.read_bytes()

    def test_what_is_removed_makes_room(self, path):
        gallery = Gallery(path)
        gallery.add("Ann", random_rows(500))
        gallery.add("Bob", random_rows(500))
        size = path.stat().st_size
        for _ in range(5):
            gallery.remove("Ann")
            gallery.add("Ann", random_rows(500))
        assert path.stat().st_size == size

    def test_what_a_killed_writer_left_is_removed(self, path):
        gallery = Gallery(path)
        gallery.add("Ann", random_rows(2))
        path.with_name(f".{'0a' * 16}.gallery.h5").write_bytes(b"half a gallery")
        gallery.add("Bob", random_rows(2))
        assert [file.name for file in path.parent.iterdir()] == ["gallery.h5"]

    def test_remove_the_last(self, path):
        gallery = Gallery(path)
        gallery.add("Ann", random_rows(2))
        gallery.remove("Ann")
        assert (len(gallery), gallery.people()) == (0, {})
        gallery.add("Bob", random_rows(2))
        assert gallery.people() == {"Bob": 2}

    def test_rename(self, path):
        gallery = Gallery(path)
        gallery.add("Ann", random_rows(2))
        gallery.add("Bob", random_rows(3, seed=1))
        gallery.rename("Ann", "Änne")
        assert content(path)["Änne"] == as_bytes(random_rows(2))
        gallery.rename("Änne", "Bob")
        assert gallery.people() == {"Bob": 5}
        gallery.rename("Bob", "Bob")
        assert gallery.people() == {"Bob": 5}

    def test_names_are_composed(self, path):
        gallery = Gallery(path)
        gallery.add(unicodedata.normalize("NFD", "Zoë"), random_rows(1))
        assert list(gallery.people()) == [unicodedata.normalize("NFC", "Zoë")]

    @pytest.mark.parametrize(
        "call, message",
        [
            (lambda g: g.add("unknown", random_rows(1)), "nobody can be called"),
            (lambda g: g.add("", random_rows(1)), "empty"),
            (lambda g: g.add("Bob", np.zeros((0, 8))), "no embeddings"),
            (lambda g: g.add("Bob", np.zeros((1, 8))), "zero or not finite"),
            (lambda g: g.add("Bob", random_rows(1, 9)), "gallery.h5: .*length 8, got 9"),
            (lambda g: g.remove("Bob"), "gallery.h5: nobody is called 'Bob'"),
            (lambda g: g.remove(""), "nobody is called"),
            (lambda g: g.rename("Bob", "Cid"), "nobody is called 'Bob'"),
            (lambda g: g.rename("Ann", "unknown"), "nobody can be called"),
        ],
    )
    def test_refusals_change_nothing(self, path, call, message):
        gallery = Gallery(path)
        gallery.add("Ann", random_rows(2))
        before = path.read_bytes()
        with pytest.raises(ValueError, match=message):
            call(gallery)
        assert path.read_bytes() == before

    def test_nobody_to_remove_from_no_gallery(self, path):
        with pytest.raises(GalleryError, match="no such gallery"):
            Gallery(path).remove("Ann")
        assert not path.exists()


class TestIdentity:
    def test_embeddings_of_another_network_are_refused(self, path, folder):
        Gallery(path).encode(folder, FakeEmbedder("aa"))
        before = path.read_bytes()
        other = FakeEmbedder("bb")
        line = "gallery.h5: its embeddings are of another network .weights aa there, bb here.; use"
        with pytest.raises(GalleryError, match=line):
            Gallery(path, identity=other.identity)
        for call in (lambda g: g.encode(folder, other), lambda g: g.add_photos("Cid", [folder / "Bob_1.png"], other)):
            with pytest.raises(GalleryError, match=line):
                call(Gallery(path))
        assert path.read_bytes() == before
        assert other.detected == 0
        assert Gallery(path, identity=FakeEmbedder("aa").identity).identity["weights"] == "aa"

    def test_an_identity_that_was_not_stated_does_not_match(self, path):
        Gallery(path).add("Ann", random_rows(1))
        with pytest.raises(GalleryError, match="weights not stated there, aa here"):
            Gallery(path, identity={"weights": "aa"})


class TestEncode:
    def test_names_stay_with_their_photos(self, path, folder):
        report = Gallery(path).encode(folder, FakeEmbedder())
        assert content(path) == {
            "Ann": as_bytes([embedding(10), embedding(14)]),
            "Bob": as_bytes([embedding(100)]),
            "张三": as_bytes([embedding(200)]),
        }
        assert (report.added, report.kept, report.removed) == (4, 0, 0)
        reasons = {p.source.name: (p.faces, p.reason) for p in report.problems}
        assert reasons["0 empty.png"] == (0, "no face found")
        assert reasons["Bob_0.png"] == (3, "3 faces found, cannot tell whose photo it is")
        assert reasons["broken.jpg"] == (-1, "not an image in a known format")
        assert str(report).splitlines()[0] == "4 photos added, 0 kept, 0 removed, 3 not used"

    def test_the_largest_face_may_be_taken(self, path, folder):
        gallery, embedder = Gallery(path), FakeEmbedder()
        gallery.encode(folder, embedder)
        assert gallery.encode(folder, embedder, take_largest=True).added == 1
        assert content(path)["Bob"] == as_bytes([embedding(60, face=3), embedding(100)])
        report = gallery.encode(folder, embedder)
        assert (report.removed, gallery.people()["Bob"]) == (1, 1)

    def test_only_new_photos_are_looked_at(self, path, folder):
        gallery, embedder = Gallery(path), FakeEmbedder()
        gallery.encode(folder, embedder)
        first = content(path)
        changed = path.stat().st_mtime_ns
        embedder.detected = embedder.embedded = 0
        report = gallery.encode(folder, embedder)
        assert (report.added, report.kept, len(report.problems)) == (0, 4, 3)
        assert (embedder.detected, embedder.embedded) == (0, 0)
        assert content(path) == first and path.stat().st_mtime_ns == changed
        photo(folder / "Ann" / "c.png", 20)
        assert gallery.encode(folder, embedder).added == 1
        assert (embedder.detected, embedder.embedded) == (1, 1)
        gallery.encode(folder, embedder, retry=True)
        assert embedder.detected == 3

    def test_follows_the_folder(self, path, folder):
        gallery, embedder = Gallery(path), FakeEmbedder()
        gallery.encode(folder, embedder)
        embedder.detected = 0
        (folder / "Ann" / "a.png").rename(folder / "Ann" / "z.png")  # renamed photo
        (folder / "Bob_1.png").rename(folder / "Zoë_7.png")  # another's photo
        shutil.rmtree(folder / "张三")
        report = gallery.encode(folder, embedder)
        assert (report.added, report.kept, report.moved, report.removed) == (0, 3, 1, 1)
        assert gallery.people() == {"Ann": 2, "Zoë": 1}
        assert embedder.detected == 0
        photo(folder / "Ann" / "b.png", 16)  # changed photo
        report = gallery.encode(folder, embedder)
        assert (report.added, report.kept, report.removed) == (1, 2, 1)
        assert content(path)["Ann"] == as_bytes([embedding(10), embedding(16)])

    def test_what_was_added_by_hand_stays(self, path, folder):
        gallery, embedder = Gallery(path), FakeEmbedder()
        gallery.add_photos("Bob", [str(folder / "Bob_1.png")], embedder)
        gallery.add_photos("Eve", [np.full((4, 4, 3), (1, 77, 0), np.uint8)], embedder)
        gallery.encode(folder, embedder)
        assert gallery.people() == {"Ann": 2, "Bob": 2, "Eve": 1, "张三": 1}
        shutil.rmtree(folder / "张三")
        gallery.encode(folder, embedder)
        assert gallery.people() == {"Ann": 2, "Bob": 2, "Eve": 1}

    def test_several_folders(self, path, folder, tmp_path):
        gallery, embedder = Gallery(path), FakeEmbedder()
        gallery.encode(folder, embedder)
        photo(tmp_path / "more" / "Cid" / "1.png", 33)
        gallery.encode(tmp_path / "more", embedder, prune=False)
        assert gallery.people() == {"Ann": 2, "Bob": 1, "Cid": 1, "张三": 1}
        embedder.detected = 0
        gallery.encode(folder, embedder, prune=False)
        assert (embedder.detected, len(gallery.people())) == (0, 4)
        assert gallery.encode(tmp_path / "more", embedder).removed == 4

    def test_a_photo_of_two_people_is_of_neither(self, path, folder):
        gallery, embedder = Gallery(path), FakeEmbedder()
        gallery.encode(folder, embedder)
        shutil.copy(folder / "Bob_1.png", folder / "Ann" / "bob.png")
        report = gallery.encode(folder, embedder)
        assert gallery.people() == {"Ann": 2, "张三": 1}
        assert sum("several people: Ann, Bob" in p.reason for p in report.problems) == 2

    def test_saves_in_between(self, path, folder, monkeypatch):
        gallery, embedder = Gallery(path), FakeEmbedder()
        seen = []
        monkeypatch.setattr(
            embedder,
            "embed_crops",
            lambda crops: seen.append(len(Gallery(path))) or FakeEmbedder.embed_crops(embedder, crops),
        )
        for number in range(70):
            photo(folder / "Cid" / f"{number}.png", number, blue=1)
        monkeypatch.setattr(module, "_SAVE_EVERY", 10)
        report = gallery.encode(folder, embedder)
        assert report.added == len(gallery) == 74
        assert seen[-1] >= 20

    def test_without_a_detector_photos_are_crops(self, path, folder):
        embedder = FakeEmbedder()
        embedder.detector = None
        report = Gallery(path).encode(folder, embedder)
        assert (report.added, embedder.detected) == (6, 0)

    def test_no_usable_photo(self, path, folder):
        shutil.rmtree(folder / "张三")
        (folder / "Bob_1.png").unlink()
        for name in "ab":
            (folder / "Ann" / f"{name}.png").unlink()
        report = Gallery(path).encode(folder, FakeEmbedder())
        assert (report.added, len(report.problems), path.exists()) == (0, 3, False)

    def test_photos_added_by_hand_are_reported(self, path, folder):
        gallery = Gallery(path)
        photos = [folder / "Bob_0.png", folder / "Bob_1.png", folder / "none.png"]
        report = gallery.add_photos("Bob", photos, FakeEmbedder())
        assert report.added == 1
        assert [p.source.name for p in report.problems] == ["Bob_0.png", "none.png"]
        assert gallery.add_photos("Cid", photos[:1], FakeEmbedder(), take_largest=True).added == 1
        assert gallery.people() == {"Bob": 1, "Cid": 1}


class TestDamage:
    @pytest.fixture
    def made(self, path, folder):
        Gallery(path, identity={}).add("Ann", random_rows(300))
        return path

    @pytest.mark.parametrize(
        "damage", [lambda d: b"", lambda d: b"not HDF5", lambda d: d[: len(d) // 2], lambda d: d[9:]]
    )
    def test_cut_or_foreign_files(self, made, damage):
        made.write_bytes(damage(made.read_bytes()))
        with pytest.raises(GalleryError, match="gallery.h5: damaged, or not a gallery"):
            Gallery(made)

    def test_a_changed_byte_is_noticed_or_harmless(self, made):
        original, expected = made.read_bytes(), content(made)
        rng = np.random.default_rng(0)
        noticed = 0
        for position in rng.integers(0, len(original), 80):
            damaged = bytearray(original)
            damaged[position] ^= int(rng.integers(1, 256))
            made.write_bytes(damaged)
            try:
                assert content(made) == expected
            except GalleryError as error:
                noticed += 1
                assert "\n" not in str(error) and str(made) in str(error)
        assert noticed > 15

    def test_other_hdf5(self, made):
        with h5py.File(made, "w") as file:
            file["encodings"] = np.zeros(3)
        with pytest.raises(GalleryError, match="gallery.h5: is an HDF5 file, but not a gallery"):
            Gallery(made)

    def test_newer_layout(self, made):
        with h5py.File(made, "r+") as file:
            file.attrs["version"] = storage.VERSION + 1
        with pytest.raises(GalleryError, match="has layout 2, this version knows layouts up to 1"):
            Gallery(made)

    def test_a_folder(self, made):
        with pytest.raises(GalleryError, match="cannot be opened"):
            Gallery(made.parent)


class TestWriters:
    def test_the_second_is_refused_after_a_while(self, path):
        gallery = Gallery(path, timeout=0.2)
        gallery.add("Ann", random_rows(1))
        with FileLock(f"{path}.lock"):
            assert gallery.people() == {"Ann": 1}, "readers are not kept out"
            line = "gallery.h5: another process is writing to it; waited 0.2 s, try again later"
            with pytest.raises(GalleryError, match=line):
                gallery.add("Bob", random_rows(1))
        gallery.add("Bob", random_rows(1))

    def test_the_second_waits(self, path):
        def hold():
            with FileLock(f"{path}.lock"):
                held.set()
                time.sleep(0.3)
                released.append(time.monotonic())

        path.parent.mkdir()
        held, released = threading.Event(), []
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        Gallery(path).add("Ann", random_rows(1))
        assert time.monotonic() >= released[0]
        thread.join()

    def test_all_changes_of_several_writers_hold(self, path):
        def write(name):
            gallery = Gallery(path, timeout=60)
            for number in range(8):
                gallery.add(f"{name}{number}", random_rows(2, seed=number))

        threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Gallery(path).people() == {f"{name}{n}": 2 for name in "abc" for n in range(8)}
        assert [file.name for file in path.parent.iterdir()] == ["gallery.h5"]

    def test_all_changes_of_several_processes_hold(self, path):
        code = "import sys; from utils.gallery.gallery import Gallery\n"
        code += "for i in range(10): Gallery(sys.argv[1], timeout=60).add(sys.argv[2], [[i + 1, 1]])"
        command = [sys.executable, "-c", code, str(path)]
        writers = [subprocess.Popen([*command, name], cwd=ROOT) for name in ("Ann", "Bob")]
        assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
        assert Gallery(path).people() == {"Ann": 10, "Bob": 10}

    def test_a_reader_keeps_the_file_that_it_opened(self, path):
        gallery = Gallery(path)
        gallery.add("Ann", random_rows(300))
        with open(path, "rb") as raw, h5py.File(raw, "r") as file:
            gallery.add("Bob", random_rows(300, seed=1))
            np.testing.assert_array_equal(file["embeddings"][:], unit_embeddings(random_rows(300)))
        assert gallery.people() == {"Ann": 300, "Bob": 300}

    def kill_writers(self, folder, kills, *kinds):
        """Returns how often a change was undone, how often it was done, and the number of changes."""
        command = [sys.executable, "-m", "tests.gallery_writers", str(folder), str(kills), "0"]
        result = subprocess.run([*command, *kinds], cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        return [int(word) for word in result.stdout.split() if word.isdigit()]

    def test_killed_writers_leave_the_old_or_the_new_state(self, tmp_path):
        old, new, changes = self.kill_writers(tmp_path, 20)
        assert old + new == 20 and changes, "some changes got through"

    @pytest.mark.slow
    @pytest.mark.parametrize("kinds", [[], ["add"], ["encode"]], ids=["all", "add", "encode"])
    def test_many_killed_writers(self, tmp_path, kinds):
        old, new, changes = self.kill_writers(tmp_path, 50, *kinds)
        assert old + new == 50 and changes, "some changes got through"


class TestFullDisk:
    @pytest.mark.parametrize(
        "call",
        [
            lambda gallery, folder: gallery.add("Bob", random_rows(3, 3)),
            lambda gallery, folder: gallery.remove("Ann"),
            lambda gallery, folder: gallery.encode(folder, FakeEmbedder()),
        ],
        ids=["add", "remove", "encode"],
    )
    @pytest.mark.parametrize("step", ["write_bytes", "replace"])
    def test_the_old_gallery_stays(self, path, folder, monkeypatch, call, step):
        gallery = Gallery(path, FakeEmbedder().identity)
        gallery.add("Ann", random_rows(3, 3))
        before = path.read_bytes()

        def half(file, data):
            file.open("wb").write(bytes(data)[: len(data) // 2])
            fail()

        def fail(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        if step == "replace":
            monkeypatch.setattr(os, "replace", fail)
        else:
            monkeypatch.setattr(Path, "write_bytes", half)
        with pytest.raises(GalleryError) as raised:
            call(gallery, folder)
        assert str(raised.value) == f"{path}: cannot be written (No space left on device)"
        monkeypatch.undo()
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == ["gallery.h5"]
        gallery.add("Bob", random_rows(3, 3))


def test_the_example_runs():
    result = doctest.testmod(module)
    assert result.attempted and not result.failed
