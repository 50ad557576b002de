"""Compiled networks on disk: a LiteRT flatbuffer, followed by the facts of its network.

A file holds the flatbuffer, then its facts as JSON, the length of that JSON (4 bytes, little-endian) and the SHA-256 of
all before. LiteRT reads the front and ignores the rest, so the file runs elsewhere, too.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from utils.files.atomic_file import replacing
from utils.files.cache import cache_folder, drop_oldest

_CHECKSUM_BYTES = hashlib.sha256().digest_size
_LENGTH_BYTES = 4


class Compiled(NamedTuple):
    """A compiled network.

    Attributes:
        content: the flatbuffer, or the path of a file that begins with it.
        facts: JSON values: "name", which is equal only for networks that compute the same; "shape" of the input, None
            for what may vary; and whatever the network's builder says of it.
    """

    content: bytes | Path
    facts: Mapping[str, Any]


def cached_path(name: str) -> Path:
    """Returns where the cache keeps the compiled network of that name."""
    return cache_folder("engine") / f"{name}.tflite"


def read_compiled(path: str | os.PathLike, name: str) -> Compiled | None:
    """Returns the compiled network in a file; None if there is none of that name or it is damaged."""
    try:
        stored = memoryview(Path(path).read_bytes())
    except OSError:
        return None
    body, checksum = stored[:-_CHECKSUM_BYTES], stored[-_CHECKSUM_BYTES:]
    if hashlib.sha256(body).digest() != checksum:
        return None
    length = int.from_bytes(body[-_LENGTH_BYTES:], "little")
    facts = json.loads(bytes(body[-_LENGTH_BYTES - length : -_LENGTH_BYTES]))
    # LiteRT maps the file into memory, so that processes share its weights and unused ones can leave.
    return Compiled(Path(path).absolute(), facts) if facts.get("name") == name else None


def write_compiled(path: str | os.PathLike, compiled: Compiled) -> Compiled:
    """Writes a compiled network, whole or not at all; returns it as it lies there.

    Raises:
        OSError: the file cannot be written.
    """
    facts = json.dumps(dict(compiled.facts)).encode()
    body = flatbuffer(compiled) + facts + len(facts).to_bytes(_LENGTH_BYTES, "little")
    with replacing(path) as temporary:
        temporary.write_bytes(body + hashlib.sha256(body).digest())
    return compiled._replace(content=Path(path).absolute())


def flatbuffer(compiled: Compiled) -> bytes:
    """Returns the flatbuffer alone, without what follows it in a file."""
    if isinstance(compiled.content, bytes):
        return compiled.content
    body = compiled.content.read_bytes()[:-_CHECKSUM_BYTES]
    return body[: -_LENGTH_BYTES - int.from_bytes(body[-_LENGTH_BYTES:], "little")]


def keep_in_cache(compiled: Compiled) -> Compiled:
    """Returns a compiled network that the cache keeps, or the same one where the cache cannot be written."""
    path = cached_path(compiled.facts["name"])
    with contextlib.suppress(OSError):
        compiled = write_compiled(path, compiled)
        drop_oldest(path.parent, ".tflite")
    return compiled
