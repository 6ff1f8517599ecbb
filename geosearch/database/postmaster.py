"""What runs in a data directory: reads `postmaster.pid`, and does not believe it blindly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

_PROC = Path("/proc")
_DYING_S = 2.0  # for which the socket of a killed server may still take connections


@dataclass(frozen=True)
class Postmaster:
    """A live server process, as its pid file describes it.

    Attributes
    ----------
    state
        `ready`, `starting` or `stopping`.
    """

    pid: int
    port: int
    socket_dir: Path
    listens: bool
    state: str

    @property
    def accepts(self) -> bool:
        """Whether it is ready and its socket takes connections."""
        if self.state != "ready":
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self.socket_dir / f".s.PGSQL.{self.port}"))
            except OSError:
                return False
        return True


class Machine(NamedTuple):
    """A machine by its name and identity, and one of its starts; empty where it does not tell."""

    name: str
    start: str

    @classmethod
    def here(cls) -> Self:
        """This machine, or this container of it."""
        told = []
        for file in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
            try:
                told.append(Path(file).read_text(encoding="utf-8").strip())
            except (OSError, ValueError):
                told.append("")
        return cls(f"{socket.gethostname()} {told[0]}".strip(), told[1])


def find(pgdata: Path) -> Postmaster | None:
    """The server that runs in `pgdata` on this machine, None if there is none.

    A pid file whose process is gone, or is another program by now, counts as none.
    """
    left = read(pgdata)
    return left if left is not None and f"-D {pgdata}" in command(left.pid) else None


def runs_elsewhere(pgdata: Path, socket_dir: Path, started_on: Machine) -> bool:
    """Whether another machine, or another container of this one, may run the server in `pgdata`.

    Its pid means nothing here. On one machine its socket answers through whatever folder; between
    machines nothing does, and one that was not stopped must be taken to run.
    """
    left = read(pgdata)
    if left is None:
        return False
    deadline = time.monotonic() + _DYING_S
    while any(
        replace(left, socket_dir=folder, state="ready").accepts
        for folder in (left.socket_dir, socket_dir)
    ):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.05)
    here = Machine.here()
    return bool(started_on.name) and here.name != started_on.name and here.start != started_on.start


def read(pgdata: Path) -> Postmaster | None:
    """The server that the pid file in `pgdata` describes, dead or alive; None without one."""
    try:
        lines = (pgdata / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    # PostgreSQL writes the file line by line while it starts.
    lines += [""] * (8 - len(lines))
    return Postmaster(
        pid=pid,
        port=int(lines[3] or 0),
        socket_dir=Path(lines[4]),
        listens=bool(lines[5].strip()),
        state=lines[7].strip() or "starting",
    )


def clear_remains(pgdata: Path, socket_dir: Path, timeout: float = 10) -> None:
    """Remove what a killed server left behind. Call only where none runs.

    PostgreSQL itself takes any live process with the number in its pid file for the old server,
    and will not start beside workers of that server which are still busy.
    """
    (pgdata / "postmaster.pid").unlink(missing_ok=True)
    for left in socket_dir.glob(".s.PGSQL.*"):
        left.unlink(missing_ok=True)
    deadline = time.monotonic() + timeout
    while (orphans := _workers(pgdata)) and time.monotonic() < deadline:
        for pid in orphans:
            with suppress(OSError):
                os.kill(pid, signal.SIGQUIT)
        time.sleep(0.05)


def command(pid: int) -> str:
    """The command line of a process; empty if it is gone, or dead and not yet buried."""
    if (_PROC / "self").exists():
        try:
            return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            return ""
    done = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout


def _workers(pgdata: Path) -> list[int]:
    """Server processes at work in `pgdata`, where the system tells."""
    found = []
    for process in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").samefile(pgdata) and "postgres" in (process / "comm").read_text():
                found.append(int(process.name))
    return found
