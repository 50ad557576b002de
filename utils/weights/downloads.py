"""Downloads published weight files: to a temporary file, which is checked and then renamed."""

import errno
import hashlib
import http.client
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from utils.files.atomic_file import replacing
from utils.weights.published import PublishedWeights, describe, find

_CHUNK = 2**20
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


def download(
    entry: str | PublishedWeights,
    folder: str | os.PathLike,
    progress: bool = True,
    attempts: int = 3,
    pause: float = 1.0,
    timeout: float = 30.0,
) -> Path:
    """Downloads one published weight file and returns its path; at once if it is there already.

    Args:
        entry: what to download: an entry, or the name of one in utils.weights.published.
        folder: where to; it is made if need be.
        progress: whether to show a progress bar.
        attempts: how often to connect before giving up.
        pause: seconds before the second attempt, twice as many before the third.
        timeout: seconds without a byte after which a connection counts as broken.

    Raises:
        ValueError: an unknown name, or the name of a set of files.
        DownloadError: no address, no network, no such file, a full disk, or wrong content.
    """
    entry = _single(entry)
    target = Path(folder, entry.file_name)
    if target.exists():
        if problem := _difference(entry, target):
            raise DownloadError(f"{target} exists, but {problem}; rename or delete it first")
        return target
    if entry.url is None:
        raise DownloadError(
            f"{entry.name}: {entry.source}; fetch {entry.file_name} by hand from {entry.page} and put it into {folder}"
        )
    try:
        with replacing(target) as temporary:
            _fetch_patiently(lambda: _fetch(entry, temporary, progress, timeout), entry, attempts, pause)
            if problem := _difference(entry, temporary):
                raise DownloadError(f"{entry.url}: {problem}; see {entry.page}")
    except OSError as error:
        raise _explained(error, target) from error
    return target


def _single(entry: str | PublishedWeights) -> PublishedWeights:
    if isinstance(entry, PublishedWeights):
        return entry
    found = find(entry)
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise ValueError(f"{entry!r} stands for several files: download {names}")
    return found[0]


def _fetch_patiently(fetch: Callable[[], None], entry: PublishedWeights, attempts: int, pause: float) -> None:
    """Fetches, again after a pause where the connection broke or the server was busy."""
    broken: object = None
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            return fetch()
        except urllib.error.HTTPError as error:
            error.close()
            broken = f"HTTP {error.code} {http.client.responses.get(error.code, '')}".strip()
            if error.code not in _TRY_AGAIN:
                raise DownloadError(f"{entry.url}: {broken}; see {entry.page}") from error
        except _BROKEN as error:
            broken = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(broken, socket.gaierror):
                reason = "no network, or the server's name is not known"
                raise DownloadError(f"{entry.url}: {reason}") from error
    raise DownloadError(f"{entry.url}: gave up after {attempts} attempts ({broken})")


def _fetch(entry: PublishedWeights, path: Path, progress: bool, timeout: float) -> None:
    """Writes what the server sends to `path`; ConnectionError if it ends too early."""
    from tqdm import tqdm

    request = urllib.request.Request(str(entry.url), headers=_HEADERS)
    with urllib.request.urlopen(request, timeout=timeout) as response, open(path, "wb") as file:
        if response.headers.get_content_type() == "text/html":
            raise DownloadError(f"{entry.url}: a web page came instead of the file; see {entry.page}")
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else entry.size
        options = {"unit": "B", "unit_scale": True, "desc": entry.file_name}
        with tqdm(total=total, disable=not progress, **options) as bar:
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


def _explained(error: OSError, target: Path) -> DownloadError:
    """Returns the error that tells the user what is wrong with the disk."""
    if isinstance(error, DownloadError):
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError(f"{target.parent}: the disk is full; make room for {target.name}")
    return DownloadError(f"{error.filename or target}: {error.strerror or error}")
