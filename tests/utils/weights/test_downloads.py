import errno
import hashlib
import http.server
import re
import threading

import pytest

from utils.weights import downloads
from utils.weights.downloads import DownloadError, download
from utils.weights.published import REGISTRY, SETS, PublishedWeights, describe, find

CONTENT = bytes(range(256)) * 1200  # more than the server's socket buffers at a break


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`; attributes of the server make it misbehave."""

    def do_GET(self):
        server = self.server
        server.requests += 1
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        self.send_response(200)
        self.send_header("Content-Type", server.content_type)
        self.send_header("Content-Length", str(len(CONTENT) + server.lie))
        self.end_headers()
        self.wfile.write(CONTENT[: server.breaks.pop(0)] if server.breaks else CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.content_type = "application/octet-stream"
        server.requests, server.lie, server.statuses, server.breaks = 0, 0, [], []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def entry(server, **known):
    url = f"http://127.0.0.1:{server.server_address[1]}/net.h5"
    return PublishedWeights("net", url, "net.h5", "http://page", "a net", **known)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_downloads_a_file_and_leaves_nothing_else(server, tmp_path):
    path = download(entry(server, size=len(CONTENT), sha256=SHA256), tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["net.h5"]


def test_starts_anew_where_the_connection_broke(server, tmp_path):
    server.breaks = [1000, 2000]
    assert download(entry(server, sha256=SHA256), tmp_path).read_bytes() == CONTENT
    assert server.requests == 3 and names(tmp_path) == ["net.h5"]


def test_gives_up_and_leaves_nothing(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "_PAUSES", (0, 0))
    server.breaks = [1000, 2000]
    with pytest.raises(DownloadError, match=r"gave up after 2 attempts .*2,000 of 307,200 bytes"):
        download(entry(server), tmp_path)
    assert names(tmp_path) == []


def test_a_server_that_announces_more_than_it_sends(server, tmp_path):
    server.lie = 10
    with pytest.raises(DownloadError, match="gave up after 3 attempts"):
        download(entry(server), tmp_path)
    assert "net.h5" not in names(tmp_path)


def test_a_file_of_another_size_than_the_published_one(server, tmp_path):
    with pytest.raises(DownloadError, match="307,200 bytes, the published one 307,201"):
        download(entry(server, size=len(CONTENT) + 1), tmp_path)
    assert server.requests == 1


def test_a_file_with_a_wrong_checksum_is_not_kept(server, tmp_path):
    with pytest.raises(DownloadError, match=r"its SHA-256 is .* see http://page"):
        download(entry(server, sha256="0" * 64), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_missing_file_is_not_asked_for_again(server, tmp_path, status):
    server.statuses = [status] * 3
    with pytest.raises(DownloadError, match=rf"HTTP {status} .*see http://page"):
        download(entry(server), tmp_path)
    assert server.requests == 1


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses = [503, 429]
    assert download(entry(server), tmp_path).read_bytes() == CONTENT


def test_pauses_grow(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(downloads.time, "sleep", pauses.append)
    server.statuses = [503] * 3
    with pytest.raises(DownloadError, match="gave up after 3 attempts .HTTP 503"):
        download(entry(server), tmp_path)
    assert pauses == [1, 2]


def test_a_web_page_instead_of_the_file(server, tmp_path):
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="a web page came"):
        download(entry(server), tmp_path)


def test_no_server(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "_PAUSES", (0, 0))
    gone = entry(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match="gave up after 2 attempts"):
        download(gone, tmp_path)


def test_no_network(server, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise downloads.urllib.error.URLError(downloads.socket.gaierror(-2, "Name unknown"))

    monkeypatch.setattr(downloads.urllib.request, "urlopen", fail)
    with pytest.raises(DownloadError, match="no network"):
        download(entry(server), tmp_path)


def test_a_disk_that_fills_up(server, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads, "_fetch", fail)
    with pytest.raises(DownloadError, match=r"disk is full.*net\.h5"):
        download(entry(server), tmp_path)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="file"):
        download(entry(server), tmp_path / "file")


def test_a_file_that_is_there_is_not_fetched(server, tmp_path):
    (tmp_path / "net.h5").write_bytes(CONTENT)
    download(entry(server, size=len(CONTENT), sha256=SHA256), tmp_path)
    assert server.requests == 0


@pytest.mark.parametrize("known", [{"size": 5}, {"sha256": "0" * 64}])
def test_another_file_of_that_name_is_not_overwritten(server, tmp_path, known):
    (tmp_path / "net.h5").write_bytes(b"mine")
    with pytest.raises(DownloadError, match=r"net\.h5 exists, but .* rename or delete"):
        download(entry(server, **known), tmp_path)
    assert (tmp_path / "net.h5").read_bytes() == b"mine"


def test_weights_to_fetch_by_hand(tmp_path):
    with pytest.raises(DownloadError, match=r"retinaface_resnet50\.h5 by hand from https://"):
        download(*find("retinaface_resnet50"), tmp_path)


def test_names():
    assert [one.file_name for one in find("mtcnn")] == ["det1.npy", "det2.npy", "det3.npy"]
    with pytest.raises(ValueError, match="did you mean facenet_mobilenet"):
        find("facenet_mobilnet")


def test_the_registry_is_in_order():
    assert len({one.file_name for one in REGISTRY.values()}) == len(REGISTRY)
    assert all(member in REGISTRY for members in SETS.values() for member in members)
    for one in REGISTRY.values():
        assert one.url is None or one.url.startswith("https://")
        assert one.sha256 is None or re.fullmatch("[0-9a-f]{64}", one.sha256)
        assert one.name in describe()


def test_main_lists_or_downloads(server, tmp_path, monkeypatch, capsys):
    downloads.main("list", tmp_path)
    assert "arcface_iresnet50" in capsys.readouterr().out
    monkeypatch.setattr(downloads, "find", lambda _: (entry(server),))
    downloads.main("net", tmp_path)
    assert capsys.readouterr().out.startswith(str(tmp_path / "net.h5"))
