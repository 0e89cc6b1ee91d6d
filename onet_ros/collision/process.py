"""The process that cuts meshes into convex pieces, driven by `PieceWorker`.

Requests come on standard input and answers go to standard output, each a length of 8 bytes and that many bytes of an
npz archive (without pickles). It ends when its input does, and gives way to everything else that wants the processor.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import struct
import sys
from typing import Any, BinaryIO

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.collision.pieces import ConvexPieces, convex_pieces
from onet_ros.collision.settings import CollisionSettings

LENGTH = struct.Struct("<Q")
NICENESS = 10


def pack(arrays: dict[str, NDArray[Any]]) -> bytes:
    """A message."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return LENGTH.pack(buffer.tell()) + buffer.getvalue()


def unpack(content: bytes) -> dict[str, NDArray[Any]]:
    """Of a message without its length."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def request(mesh: trimesh.Trimesh, settings: CollisionSettings) -> bytes:
    """What the process is sent."""
    return pack(
        {
            "vertices": np.asarray(mesh.vertices, dtype=np.float64),
            "faces": np.asarray(mesh.faces, dtype=np.int64),
            "settings": np.array(json.dumps(dataclasses.asdict(settings))),
        }
    )


def answer(content: bytes) -> ConvexPieces | str:
    """What it sends back: the pieces, or why there are none."""
    arrays = unpack(content)
    if "error" in arrays:
        return str(arrays["error"])
    vertices = np.split(arrays["vertices"], np.cumsum(arrays["vertex_counts"])[:-1])
    faces = np.split(arrays["faces"], np.cumsum(arrays["face_counts"])[:-1])
    pieces = [trimesh.Trimesh(*pair, process=False) for pair in zip(vertices, faces, strict=True)]
    return ConvexPieces(pieces, *arrays["figures"].tolist())


def _answered(content: bytes) -> bytes:
    arrays = unpack(content)
    mesh = trimesh.Trimesh(arrays["vertices"], arrays["faces"], process=False)
    try:
        found = convex_pieces(mesh, CollisionSettings(**json.loads(str(arrays["settings"]))))
    except (ValueError, ImportError) as error:
        return pack({"error": np.array(str(error))})
    return pack(
        {
            "vertices": np.concatenate([one.vertices for one in found.pieces]),
            "faces": np.concatenate([one.faces for one in found.pieces]),
            "vertex_counts": np.array([len(one.vertices) for one in found.pieces]),
            "face_counts": np.array([len(one.faces) for one in found.pieces]),
            "figures": np.array([found.deviation, found.filled, found.uncovered, found.seconds]),
        }
    )


def _read(stream: BinaryIO) -> bytes | None:
    """The next message, None at the end of the stream."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return stream.read(LENGTH.unpack(head)[0])


def serve() -> None:
    """Answer until the input ends, nobody reads the answers, or Ctrl-C is for this process."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICENESS)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        while (content := _read(sys.stdin.buffer)) is not None:
            answers.write(_answered(content))
            answers.flush()
