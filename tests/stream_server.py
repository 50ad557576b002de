"""An HTTP camera for tests: MJPEG on this machine, whose picture counts up."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np


class StreamServer:
    """Serves pictures until closed, whatever the path; can be started again on its port."""

    def __init__(self, port=0, fps=25, picture=None):
        """Starts.

        Args:
            port: 0 takes a free one.
            fps: pictures a second.
            picture: number of the picture -> (H, W, 3) uint8 RGB; grey of that level by default.
        """
        self.running = True
        owner, draw = self, picture or (lambda n: np.full((48, 64, 3), n % 256, np.uint8))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
                self.end_headers()
                number = 0
                while owner.running:
                    jpeg = cv2.imencode(".jpg", draw(number)[..., ::-1])[1].tobytes()
                    head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n"
                    self.wfile.write(head.encode() + b"\r\n" + jpeg + b"\r\n")
                    number += 1
                    time.sleep(1 / fps)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_):
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self.address = f"http://127.0.0.1:{self.port}/camera"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        """Breaks all connections off and lets go of the port."""
        self.running = False
        self._server.shutdown()
        self._server.server_close()
