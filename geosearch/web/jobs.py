"""Many photos at once: answered one after the other, in the background."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from starlette.exceptions import HTTPException

from geosearch.errors import GeosearchError, NotFoundError, PhotoRejected

#: Jobs that work at once: the others wait, and leave processors to those who ask about one photo.
_AT_ONCE = 2
#: Jobs of a role that are not over yet, and seconds for which one that is over is known.
_OPEN, _KEPT_S = 4, 3600.0

#: From the name of a photo and the file where it lies to its answer.
Answer = Callable[[str, Path], dict[str, Any]]


@dataclass(eq=False)
class Job:
    """Photos to be answered for a role; `answers` grows, in their order."""

    role: str
    names: Sequence[str]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: str = "waiting"  # running, done, cancelled
    answers: list[dict[str, Any]] = field(default_factory=list)
    ended: float | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        """Whether no more answers come."""
        return self.ended is not None

    def to_json(self) -> dict[str, Any]:
        """Without the answers."""
        failed = sum("error" in answer for answer in self.answers)
        counts = {"photos": len(self.names), "answered": len(self.answers), "failed": failed}
        return {"id": self.id, "state": self.state, **counts}


class Jobs:
    """The jobs of all roles. They are kept in memory: when the server ends, so do they."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="geosearch-job")

    def start(
        self, role: str, names: Sequence[str], folder: TemporaryDirectory[str], answer: Answer
    ) -> Job:
        """Answer the files 0, 1, … of a folder, which is removed at the end.

        Raises
        ------
        HTTPException
            429: the role has too many jobs that are not over.
        """
        job = Job(role, names)
        with self._lock:
            now = time.monotonic()
            for one in [*self._jobs.values()]:
                if one.ended is not None and now - one.ended > _KEPT_S:
                    del self._jobs[one.id]
            if sum(one.role == role and not one.over for one in self._jobs.values()) >= _OPEN:
                folder.cleanup()
                raise HTTPException(429, "too many jobs at once", {"Retry-After": "10"})
            self._jobs[job.id] = job
        self._pool.submit(_work, job, folder, answer)
        return job

    def list(self, role: str) -> list[Job]:
        """Those of a role, the oldest first."""
        with self._lock:
            return [job for job in self._jobs.values() if job.role == role]

    def find(self, role: str, job_id: str) -> Job:
        """One of a role. Raises NotFoundError where there is none."""
        found = next((job for job in self.list(role) if job.id == job_id), None)
        if found is None:
            raise NotFoundError("there is no such job", "When the server ends, its jobs are gone.")
        return found

    def remove(self, role: str, job_id: str) -> Job:
        """Stop one of a role, and forget it; errors as of `find`."""
        job = self.find(role, job_id)
        job.cancelled.set()
        with self._lock:
            self._jobs.pop(job.id, None)
        return job

    def close(self) -> None:
        """Cancel all, and wait for the answers at work."""
        for job in self._jobs.values():
            job.cancelled.set()
        self._pool.shutdown(wait=True)


def _work(job: Job, folder: TemporaryDirectory[str], answer: Answer) -> None:
    job.state = "running"
    with folder as name:
        for number, photo in enumerate(job.names):
            if job.cancelled.is_set():
                break
            path = Path(name) / str(number)
            job.answers.append(_answered(photo, path, answer))
            path.unlink()
    job.state = "cancelled" if job.cancelled.is_set() else "done"
    job.ended = time.monotonic()


def _answered(photo: str, path: Path, answer: Answer) -> dict[str, Any]:
    reason = None
    try:
        return answer(photo, path)
    except PhotoRejected as error:
        reason, message = error.reason, error.message
    except GeosearchError as error:
        message = error.message
    except Exception as error:  # one photo stops no job
        message = f"{type(error).__name__}, a fault of geosearch"
    return {"photo": photo, "error": {"reason": reason, "message": message}}
