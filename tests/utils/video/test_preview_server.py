import http.client
import io
import shutil
import subprocess
import threading

import numpy as np
import pytest
from PIL import Image

from utils.video.preview_server import PreviewServer


def picture(level):
    return np.full((48, 64, 3), level, np.uint8)


@pytest.fixture
def preview():
    with PreviewServer(0) as server:
        yield server


def get(preview, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", preview.server_port, timeout=5)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def stream_of(preview):
    """Opens the stream and reads its first boundary."""
    response = get(preview, "/stream")
    assert response.readline() == b"--picture\r\n"
    return response


def next_part(response):
    """Reads one picture of a multipart answer, as a browser does: up to the next boundary."""
    headers = {}
    while (line := response.readline()) != b"\r\n":
        name, value = line.decode().split(": ")
        headers[name] = value.strip()
    assert headers["Content-Type"] == "image/jpeg"
    image = np.asarray(Image.open(io.BytesIO(response.read(int(headers["Content-Length"])))))
    assert response.readline() == b"\r\n" and response.readline() == b"--picture\r\n"
    return image


def test_page_and_picture(preview):
    assert preview.address.startswith("http://127.0.0.1:")
    page = get(preview, "/")
    assert page.status == 200 and b'src="/stream"' in page.read()
    preview.show(picture(120))
    answer = get(preview, "/picture.jpg")
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert abs(np.asarray(Image.open(io.BytesIO(answer.read()))).mean() - 120) < 3
    assert get(preview, "/passwords").status == 404


def test_stream_shows_new_pictures_in_rgb(preview):
    red = picture(0)
    red[..., 0] = 200
    preview.show(red)
    stream = stream_of(preview)
    assert stream.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=picture"
    first = next_part(stream).reshape(-1, 3).mean(axis=0)
    assert first[0] > 190 and first[2] < 10
    for level in (40, 80, 160):
        preview.show(picture(level))
        assert abs(next_part(stream).mean() - level) < 3


def test_several_watch_and_leave(preview):
    preview.show(picture(10))
    streams = [stream_of(preview) for _ in range(3)]
    assert [next_part(stream).shape for stream in streams] == [(48, 64, 3)] * 3
    streams.pop().close()
    for level in range(20, 60, 10):
        preview.show(picture(level))
    assert all(next_part(stream) is not None for stream in streams)


def test_a_stream_ends_with_the_video():
    server = PreviewServer(0)
    server.show(picture(10))
    stream = stream_of(server)
    next_part(stream)
    threading.Timer(0.2, server.close).start()
    stream.read()  # ends


def test_pictures_are_compressed_only_for_somebody(preview, monkeypatch):
    monkeypatch.setattr("utils.video.preview_server.cv2.imencode", lambda *_: pytest.fail("compressed"))
    for level in range(5):
        preview.show(picture(level))


@pytest.mark.parametrize("host, status", [("localhost:1", 200), ("127.0.0.1", 200), ("faces.example:80", 403)])
def test_other_names_are_refused(preview, host, status):
    assert get(preview, "/", Host=host).status == status


def test_other_sites_must_not_embed_it(preview):
    assert get(preview, "/").headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_ports_that_cannot_be(preview):
    port = preview.server_port
    with pytest.raises(OSError, match=f"preview_port {port}: .*choose another"):
        PreviewServer(port)
    for bad in (-1, 70000, "http", 1.5):
        with pytest.raises(ValueError, match="from 0 to 65535"):
            PreviewServer(bad)


def test_in_chromium(preview, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("needs chromium")
    red = np.zeros((200, 300, 3), np.uint8)
    red[..., 0] = 220
    end = threading.Event()

    def film():
        while not end.wait(0.04):
            preview.show(red)

    threading.Thread(target=film, daemon=True).start()
    shot = tmp_path / "shot.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=400,300"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}"]
    subprocess.run([*command, preview.address], timeout=60, capture_output=True)
    end.set()
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert ((pixels[..., 0] > 190) & (pixels[..., 2] < 40)).mean() > 0.3
