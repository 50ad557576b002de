"""Downloads weight files so that a broken connection costs nothing and a bad file goes unused.

The bytes go to `<file>.part`; beside it, `<file>.part.tag` keeps what the server said identifies
this version of the file (its ETag, else its date). A later run goes on where the part ends if the
server still has that version. The file gets its name only when it is complete and its checksum, if
one is known, is right.
"""

import contextlib
import errno
import hashlib
import http.client
import os
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

from utils.weights.published import PublishedWeights, describe, find

_CHUNK = 2**20
_HEADERS = {"User-Agent": "faces-weights/1.0", "Accept-Encoding": "identity"}
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)


class DownloadError(OSError):
    """A download that cannot be finished; the message says why and what to do."""


class _Interrupted(Exception):
    """The connection broke; what has arrived is kept, and another attempt may go on from there."""


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
    attempts: int = 6,
    pause: float = 1.0,
    timeout: float = 30.0,
) -> Path:
    """Downloads one published weight file; returns at once if it is there already.

    Args:
        entry: what to download: an entry, or the name of one in utils.weights.published.
        folder: where to; made if need be.
        progress: whether to show a progress bar.
        attempts: how often to connect before giving up.
        pause: seconds before the second attempt; doubles each time, up to 30.
        timeout: seconds without a byte after which a connection counts as broken.

    Returns:
        The path of the file.

    Raises:
        ValueError: an unknown name, or the name of a set of files.
        DownloadError: no address, no network, no such file, a full disk, or wrong content.
    """
    entry = _single(entry)
    target = Path(folder, entry.file_name)
    if target.exists():
        _check_existing(entry, target)
        return target
    if entry.url is None:
        raise DownloadError(
            f"{entry.name}: {entry.source}; fetch {entry.file_name} by hand from {entry.page} and "
            f"put it into {folder}"
        )
    part = Path(f"{target}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _fetch_patiently(entry, part, progress, attempts, pause, timeout)
        _check_content(entry, part)
        os.replace(part, target)
    except OSError as error:
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(_explain_disk(error, part)) from error
    _tag_path(part).unlink(missing_ok=True)
    return target


def _single(entry: str | PublishedWeights) -> PublishedWeights:
    if isinstance(entry, PublishedWeights):
        return entry
    found = find(entry)
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise ValueError(f"{entry!r} stands for several files: download {names}")
    return found[0]


def _fetch_patiently(entry, part, progress, attempts, pause, timeout) -> None:
    for attempt in range(attempts):
        if attempt:
            time.sleep(min(pause * 2 ** (attempt - 1), 30))
        try:
            return _fetch(entry, part, progress, timeout)
        except _Interrupted as interruption:
            reason = interruption
    kept = part.stat().st_size if part.exists() else 0
    again = f"; {kept:,} bytes are kept, run it again to go on" if kept else ""
    raise DownloadError(f"{entry.url}: gave up after {attempts} attempts ({reason}){again}")


def _fetch(entry: PublishedWeights, part: Path, progress: bool, timeout: float) -> None:
    """Makes one attempt to complete `part`."""
    have, tag = _resumable(part)
    headers = {**_HEADERS, "Range": f"bytes={have}-", "If-Range": tag} if have else _HEADERS
    with contextlib.ExitStack() as stack:
        try:
            request = urllib.request.Request(entry.url, headers=headers)
            response = stack.enter_context(urllib.request.urlopen(request, timeout=timeout))
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
                    return  # The part was complete already.
                raise _refusal(error.code, entry, part) from error
        except (OSError, http.client.HTTPException) as error:
            raise _failure(error, entry) from error
        start, total = _extent(response, entry, have)
        _check_room(part, start, total)
        if not start:
            part.unlink(missing_ok=True)  # Or an old part would carry the tag of a new version.
        _write_tag(part, response)
        _receive(response, part, start, total, entry, progress)


def _resumable(part: Path) -> tuple[int, str]:
    """How many bytes of an earlier attempt can be built on, and the version they are of."""
    with contextlib.suppress(FileNotFoundError):
        return part.stat().st_size, _tag_path(part).read_text(encoding="ascii")
    return 0, ""


def _tag_path(part: Path) -> Path:
    return Path(f"{part}.tag")


def _write_tag(part: Path, response) -> None:
    """Notes the version, or removes the note if the server gives none that `If-Range` may use."""
    etag = response.headers.get("ETag", "")
    tag = response.headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag
    if tag.isascii() and tag:
        _tag_path(part).write_text(tag, encoding="ascii")
    else:
        _tag_path(part).unlink(missing_ok=True)


def _refusal(code: int, entry: PublishedWeights, part: Path) -> Exception:
    """What to raise for an HTTP status."""
    if code == 416:
        part.unlink(missing_ok=True)
        return _Interrupted("the server does not have the rest of what was downloaded before")
    if code in _TRY_AGAIN:
        return _Interrupted(f"HTTP {code}")
    reason = http.client.responses.get(code, "")
    return DownloadError(f"{entry.url}: HTTP {code} {reason}; see {entry.page}")


def _failure(error: Exception, entry: PublishedWeights) -> Exception:
    """What to raise for a connection that did not come about."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, socket.gaierror):
        return DownloadError(f"{entry.url}: no network, or the server's name is not known")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DownloadError(f"{entry.url}: {reason.verify_message}: the server is not trusted")
    return _Interrupted(str(reason) or type(reason).__name__)


def _extent(response, entry: PublishedWeights, have: int) -> tuple[int, int | None]:
    """Where the bytes of a response start, and how many the whole file has, if known."""
    if response.headers.get_content_type() == "text/html":
        raise DownloadError(f"{entry.url}: a web page came instead of the file; see {entry.page}")
    length = response.headers.get("Content-Length", "")
    start, total = 0, int(length) if length.isdigit() else None
    if response.status == 206:
        extent = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not extent or int(extent[1]) != have:
            raise DownloadError(f"{entry.url}: the server sent another part than was asked for")
        start, total = have, int(extent[2])
    if None not in (total, entry.size) and total != entry.size:
        raise DownloadError(
            f"{entry.url}: the server's file has {total:,} bytes, the published one "
            f"{entry.size:,}; see {entry.page}"
        )
    return start, total or entry.size


def _check_room(part: Path, start: int, total: int | None) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise DownloadError(
            f"{part.parent}: the disk is full: {total - start:,} bytes to come, {free:,} free"
        )


def _receive(response, part, start, total, entry, progress) -> None:
    from tqdm import tqdm

    options = {"unit": "B", "unit_scale": True, "desc": entry.file_name, "disable": not progress}
    with (
        open(part, "ab" if start else "wb") as file,
        tqdm(total=total, initial=start, **options) as bar,
    ):
        while True:
            try:
                chunk = response.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _Interrupted(str(error) or type(error).__name__) from error
            if not chunk:
                break
            file.write(chunk)
            bar.update(len(chunk))
        received = file.tell()
    if total is not None and received != total:
        raise _Interrupted(f"the connection ended at {received:,} of {total:,} bytes")


def _explain_disk(error: OSError, part: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{part.parent}: the disk is full; what has arrived is kept in {part.name}"
    return f"{error.filename or part}: {error.strerror or error}"


def _check_content(entry: PublishedWeights, part: Path) -> None:
    problem = _difference(entry, part)
    if problem:
        part.unlink()
        _tag_path(part).unlink(missing_ok=True)
        raise DownloadError(f"{entry.url}: {problem}; it was deleted, see {entry.page}")


def _check_existing(entry: PublishedWeights, target: Path) -> None:
    problem = _difference(entry, target)
    if problem:
        raise DownloadError(f"{target} exists, but {problem}; rename or delete it first")


def _difference(entry: PublishedWeights, path: Path) -> str:
    """How a file differs from what is known of the published one; empty if it does not."""
    size = path.stat().st_size
    if entry.size not in (None, size):
        return f"the file has {size:,} bytes, the published one {entry.size:,}"
    if entry.sha256:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != entry.sha256:
            return f"its SHA-256 is {found[:12]}..., the published one's {entry.sha256[:12]}..."
    return ""
