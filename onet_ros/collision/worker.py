"""Convex pieces in the background: asked for by name, done one after the other by a process of their own."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import trimesh

from onet_ros.collision import process
from onet_ros.collision.pieces import ConvexPieces
from onet_ros.collision.settings import CollisionSettings

_SERVE = "from onet_ros.collision.process import serve; serve()"  # by -m, a part of its package would warn
PATIENCE = 15.0  # seconds that the process may take to start, beside the time limit


@dataclass(frozen=True)
class PiecesDone:
    """Pieces of the mesh that was submitted under a name, or why there are none."""

    name: str
    mesh: trimesh.Trimesh
    pieces: ConvexPieces | None
    reason: str = ""


class PieceWorker:
    """Cuts meshes into pieces; safe to use from several threads.

    Of each name only the newest mesh is worked on. A mesh that takes longer than the time limit costs the process its
    life; the next one gets another process.

    Args:
        settings: of the pieces.
        on_done: called in the worker's own thread with everything that was submitted and not forgotten or replaced.
    """

    def __init__(self, settings: CollisionSettings, on_done: Callable[[PiecesDone], None]) -> None:
        self._settings, self._on_done = settings, on_done
        self._waiting: dict[str, trimesh.Trimesh] = {}
        self._current: tuple[str, trimesh.Trimesh] | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="convex pieces", daemon=True)
        self._thread.start()

    def submit(self, name: str, mesh: trimesh.Trimesh) -> None:
        """Ask for the pieces of a mesh, in place of those of the one before under this name."""
        with self._changed:
            self._waiting.pop(name, None)
            self._waiting[name] = mesh
            self._changed.notify()

    def forget(self, name: str) -> None:
        """Nobody needs the pieces of this name any more."""
        with self._changed:
            self._waiting.pop(name, None)
            if self._current is not None and self._current[0] == name:
                self._current = None  # its answer will not be told of

    def close(self) -> None:
        """Stop, whatever is being done."""
        with self._changed:
            self._closed = True
            self._current = None
            self._changed.notify()
            child = self._process
        if child is not None:
            child.kill()  # the thread, which reads from it, notices and clears up
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    break
                name = next(iter(self._waiting))
                mesh = self._waiting.pop(name)
                self._current = name, mesh
            found = self._ask(mesh)
            with self._changed:
                wanted = self._current == (name, mesh) and name not in self._waiting
                self._current = None
            if wanted:
                pieces, reason = (None, found) if isinstance(found, str) else (found, "")
                self._on_done(PiecesDone(name, mesh, pieces, reason))
        self._kill()

    def _ask(self, mesh: trimesh.Trimesh) -> ConvexPieces | str:
        """The pieces, or why there are none."""
        try:
            child = self._started()
            assert child.stdin is not None
            child.stdin.write(process.request(mesh, self._settings))
            child.stdin.flush()
            content = self._answer(child, time.monotonic() + self._settings.time_limit + PATIENCE)
        except OSError as error:
            self._kill()
            return f"the process for convex pieces failed: {error}"
        if content is None:
            died = self._process is not None and self._process.poll() is not None
            self._kill()
            return (
                "the process for convex pieces died"
                if died
                else f"convex pieces took longer than {self._settings.time_limit:g} s"
            )
        return process.answer(content)

    def _started(self) -> subprocess.Popen[bytes]:
        with self._changed:  # what is started once it is closed, nobody would end
            if self._closed:
                raise OSError("it is closed")
            if self._process is None or self._process.poll() is not None:
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # one core is what it may take
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _SERVE],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment,
                    start_new_session=True,  # Ctrl-C in a terminal is the node's
                )
            return self._process

    @staticmethod
    def _answer(child: subprocess.Popen[bytes], deadline: float) -> bytes | None:
        """One message; None when it ends or takes too long."""
        assert child.stdout is not None
        descriptor, content, length = child.stdout.fileno(), b"", process.LENGTH.size
        head = True
        while len(content) < length:
            left = deadline - time.monotonic()
            if left <= 0.0 or not select.select([descriptor], [], [], left)[0]:
                return None
            part = os.read(descriptor, length - len(content))
            if not part:
                return None
            content += part
            if head and len(content) == length:
                length, content, head = process.LENGTH.unpack(content)[0], b"", False
        return content

    def _kill(self) -> None:
        """End the process; for the thread, nobody else may close what it reads from."""
        child, self._process = self._process, None
        if child is None:
            return
        with contextlib.suppress(OSError):
            child.send_signal(signal.SIGKILL)
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        child.wait()
