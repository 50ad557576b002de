"""A web page on this machine that shows the newest picture."""

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

HOST = "127.0.0.1"
_QUALITY = 80  # of the JPEG pictures
# Seconds after which the last picture is sent again: a browser shows a picture when the next one
# begins, and a browser that has left is noticed.
_PATIENCE = 1.0
_BOUNDARY = "picture"
_PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>video.py</title>
<style>body{margin:0;background:#111;height:100vh;display:grid;place-items:center}
img{max-width:100%;max-height:100vh}</style></head>
<body><img src="/stream" alt="The newest picture"></body></html>
"""


class PreviewServer(ThreadingHTTPServer):
    """Serves `/`, the page; `/stream`, MJPEG; `/picture.jpg`, one picture.

    Only programs of this machine reach it, and no page of another site can read it. Pictures are compressed only while
    a browser asks for them.

    Example:
        >>> with PreviewServer(8000) as preview:
        ...     preview.show(picture)

    Attributes:
        address: of the page.
        ended: whether it is closed, so that streams end.
    """

    def __init__(self, port: int):
        """Starts the server in a thread.

        Args:
            port: its number, 0 to 65535; 0 takes a free one.

        Raises:
            OSError: the port is in use, or not allowed.
            ValueError: the port is not a number from 0 to 65535.
        """
        if not isinstance(port, int) or not 0 <= port <= 65535:
            raise ValueError(f"preview_port {port!r}: a whole number from 0 to 65535 expected")
        self._changed = threading.Condition()  # guards the newest picture, for which many threads wait
        self._picture: np.ndarray | None = None
        self._jpeg: bytes | None = None
        self._number, self.ended = 0, False
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise OSError(f"preview_port {port}: {error.strerror or error}; choose another") from error
        self.address = f"http://{HOST}:{self.server_port}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def show(self, picture: np.ndarray) -> None:
        """Makes a picture, (H, W, 3) uint8 RGB, the newest."""
        with self._changed:
            self._picture, self._jpeg, self._number = picture, None, self._number + 1
            self._changed.notify_all()

    def wait(self, seen: int) -> tuple[int, bytes | None]:
        """Returns number and JPEG of a picture newer than `seen`, or after a while of the same."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended or self._number > seen, _PATIENCE)
            if self._jpeg is None and self._picture is not None:
                bgr = cv2.cvtColor(self._picture, cv2.COLOR_RGB2BGR)
                self._jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
            return self._number, self._jpeg

    def close(self) -> None:
        """Ends the streams and the server."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()
        self.shutdown()
        self.server_close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Does not report a browser that left in the middle of a picture."""


class _Handler(BaseHTTPRequestHandler):
    server: PreviewServer

    def do_GET(self) -> None:
        """Answers a browser's request with the page, the stream or one picture."""
        # A site that lets its own name point here must not see the faces (DNS rebinding).
        if self.headers.get("Host", "").partition(":")[0] not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            self._send("text/html; charset=utf-8", _PAGE)
        elif self.path == "/stream":
            self._stream()
        elif self.path == "/picture.jpg":
            jpeg = self.server.wait(0)[1]
            if jpeg is None:
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "no picture yet")
            else:
                self._send("image/jpeg", jpeg)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _start(self, kind: str, length: int | None = None) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()

    def _send(self, kind: str, body: bytes) -> None:
        self._start(kind, len(body))
        self.wfile.write(body)

    def _stream(self) -> None:
        self._start(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        seen = 0
        # The boundary follows each picture at once, so that a browser need not wait for the next.
        boundary = f"--{_BOUNDARY}\r\n".encode()
        self.wfile.write(boundary)
        while not self.server.ended:
            seen, jpeg = self.server.wait(seen)
            if jpeg is None:
                continue
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n" + boundary)

    def log_message(self, *_: object) -> None:
        """Does not log requests."""
