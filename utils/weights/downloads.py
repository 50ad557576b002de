"""Downloads published weight files: to a temporary file, which is checked and then renamed."""

import errno
import hashlib
import http.client
import os
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

from utils.files.atomic_file import replacing
from utils.weights.published import PublishedWeights, describe, find

_CHUNK = 2**20
_PAUSES = (0, 1, 2)  # seconds before each attempt
_TIMEOUT = 30  # seconds without a byte after which a connection counts as broken
_HEADERS = {"User-Agent": "faces-weights/1.0", "Accept-Encoding": "identity"}
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


class DownloadError(OSError):
    """A download that cannot be finished; the message says why and what to do."""


def main(name: str, folder: str | os.PathLike) -> None:
    """Downloads what `name` stands for and says where it is; "list" prints the names instead."""
    if name == "list":
        print(describe())
        return
    for entry in find(name):
        print(f"{download(entry, folder)}: {entry.about}; from {entry.page}")


def download(entry: PublishedWeights, folder: str | os.PathLike) -> Path:
    """Downloads one published weight file and returns its path; at once if it is there already.

    Args:
        entry: what to download, see `utils.weights.published.find`.
        folder: where to; it is made if it does not exist.

    Raises:
        DownloadError: no address, no network, no such file, a full disk, or wrong content.
    """
    target = Path(folder, entry.file_name)
    if target.exists():
        if problem := _difference(entry, target):
            raise DownloadError(f"{target} exists, but {problem}; rename or delete it first")
        return target
    if entry.url is None:
        raise DownloadError(
            f"{entry.name}: the project's page links no address that a program can fetch; "
            f"fetch {entry.file_name} by hand from {entry.page} and put it into {folder}"
        )
    try:
        with replacing(target) as temporary:
            _fetch_patiently(entry, temporary)
            if problem := _difference(entry, temporary):
                raise DownloadError(f"{entry.url}: {problem}; see {entry.page}")
    except DownloadError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(f"{target.parent}: the disk is full; make room for {target.name}") from error
        raise DownloadError(f"{error.filename or target}: {error.strerror or error}") from error
    return target


def _fetch_patiently(entry: PublishedWeights, path: Path) -> None:
    """Fetches, again after a pause where the connection broke or the server was busy."""
    broken: object = None
    for pause in _PAUSES:
        if pause:
            time.sleep(pause)
        try:
            return _fetch(entry, path)
        except urllib.error.HTTPError as error:
            error.close()
            broken = f"HTTP {error.code} {http.client.responses.get(error.code, '')}".strip()
            if error.code not in _TRY_AGAIN:
                raise DownloadError(f"{entry.url}: {broken}; see {entry.page}") from error
        except _BROKEN as error:
            broken = getattr(error, "reason", error)
            if isinstance(broken, socket.gaierror):
                raise DownloadError(f"{entry.url}: no network, or the server's name is not known") from error
    raise DownloadError(f"{entry.url}: gave up after {len(_PAUSES)} attempts ({broken})")


def _fetch(entry: PublishedWeights, path: Path) -> None:
    """Writes what the server sends to `path`; ConnectionError if it ends too early."""
    from tqdm import tqdm

    request = urllib.request.Request(str(entry.url), headers=_HEADERS)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response, open(path, "wb") as file:
        if response.headers.get_content_type() == "text/html":
            raise DownloadError(f"{entry.url}: a web page came instead of the file; see {entry.page}")
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else entry.size
        with tqdm(total=total, unit="B", unit_scale=True, desc=entry.file_name) as bar:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and file.tell() < total:
            raise ConnectionError(f"the connection ended at {file.tell():,} of {total:,} bytes")


def _difference(entry: PublishedWeights, path: Path) -> str:
    """Returns how a file differs from what is known of the published one; "" if it does not."""
    size = path.stat().st_size
    if entry.size not in (None, size):
        return f"the file has {size:,} bytes, the published one {entry.size:,}"
    if entry.sha256:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != entry.sha256:
            return f"its SHA-256 is {found[:12]}..., the published one's {entry.sha256[:12]}..."
    return ""
