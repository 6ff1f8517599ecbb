"""The system user a private server runs as: PostgreSQL refuses to run as root.

That user may plant links in the server's folders. So root works there with that user's rights, by
which a link leads nowhere that the user could not go; and with its own only in folders of its own.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from geosearch.errors import ServerError

# Rights are the process's: what one thread takes, another must not give back.
_rights = threading.RLock()


@dataclass(frozen=True)
class Owner:
    """Who owns the server's files and processes; `by_root`: root works for that user."""

    uid: int
    gid: int
    by_root: bool = False

    @classmethod
    def of(cls, data_dir: Path) -> Self:
        """The owner for `data_dir`: this user; as root, an unprivileged one.

        As root: whoever owns the database in `data_dir`, or `data_dir` itself, unless that is
        root too; else `postgres`; else `nobody`.

        Raises
        ------
        ServerError
            The database in `data_dir` belongs to another user, or root has no user to drop to.
        """
        owners = [
            (folder.lstat().st_uid, folder.lstat().st_gid)
            for folder in (data_dir / "postgres", data_dir)
            if os.path.lexists(folder)
        ]
        if os.geteuid() != 0:
            if owners and owners[0][0] != os.geteuid():
                raise ServerError(
                    f"{data_dir} belongs to the user {_name(owners[0][0])}",
                    "Run as that user, or set GEOSEARCH_DATA_DIR to a folder of your own.",
                )
            return cls(os.geteuid(), os.getegid())
        for uid, gid in owners:
            if uid != 0:
                return cls(uid, gid, by_root=True)
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid, by_root=True)
        raise ServerError(
            "PostgreSQL does not run as root, and there is no user postgres or nobody",
            "Run geosearch as an ordinary user.",
        )

    def run(self, arguments: Sequence[str | Path], timeout: float) -> tuple[int, str]:
        """Run a program as this user; its exit status and all it said.

        Raises
        ------
        ServerError
            It cannot be run, or takes longer than `timeout` seconds.
        """
        drop = {"user": self.uid, "group": self.gid} if self.by_root else {}
        try:
            with self.acting():
                done = subprocess.run(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    encoding="utf-8",
                    errors="replace",
                    timeout=timeout,
                    cwd="/",
                    env=_environment(),
                    start_new_session=True,  # Ctrl-C in this terminal is not for the server
                    **drop,  # type: ignore[call-overload]
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerError(
                f"cannot run {arguments[0]} as the user {_name(self.uid)}: {error}"
            ) from error
        return done.returncode, done.stdout.strip()

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Do the block with this user's rights instead of root's, as does the whole process."""
        with self._with_rights_of(self.uid, self.gid, []):
            yield

    @contextmanager
    def acting_in(self, folder: Path) -> Iterator[None]:
        """Do the block, which changes what is in `folder`: as root only where nobody else can.

        What root makes there, it gives to this user by `_own`.
        """
        with self._with_rights_of(0, 0, [0]):
            closed = _is_only_roots(folder)
        with self._with_rights_of(0, 0, [0]) if closed else self.acting():
            yield

    @contextmanager
    def _with_rights_of(self, uid: int, gid: int, groups: list[int]) -> Iterator[None]:
        if not self.by_root:
            yield
            return
        with _rights:
            before = os.geteuid(), os.getegid(), os.getgroups()
            _become(uid, gid, groups)
            try:
                yield
            finally:
                _become(*before)

    def _own(self, path: Path) -> None:
        """Give `path`, which we have just made, to this user."""
        if self.by_root and os.geteuid() == 0:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def make_home(self, folder: Path) -> None:
        """Make the folder that all others of the server are in, where it is not there.

        Raises
        ------
        ServerError
            Somebody put another one in its place.
        """
        with self._with_rights_of(0, 0, [0]):
            if folder.exists():
                return
            folder.mkdir(mode=0o700, parents=True)
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if any(os.scandir(handle)):
                    raise ServerError(f"{folder} was replaced while it was made", "Choose another.")
                if self.by_root:
                    os.fchown(handle, self.uid, self.gid)
            finally:
                os.close(handle)

    def open(self, path: Path, mode: str) -> IO[str]:
        """Open a text file in a folder of the server; it is made where it is not there.

        Raises
        ------
        ServerError
            It is a link, or no regular file.
        """
        with self.acting_in(path.parent):
            if not os.path.lexists(path):
                path.touch(mode=0o600)
                self._own(path)
        with self.acting():
            return open(path, mode, encoding="utf-8", opener=_regular)

    def make_folder(self, folder: Path) -> None:
        """Make a folder only this user may enter, or check that an existing one is that.

        Raises
        ------
        ServerError
            Someone else made it, or others may enter it.
        """
        with self.acting_in(folder.parent):
            self._make_folder(folder)

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            found = folder.lstat()
            private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
            if not private or found.st_uid != self.uid:
                raise ServerError(
                    f"{folder} is not a folder that only the user {_name(self.uid)} may enter",
                    "Remove it, or set GEOSEARCH_DATA_DIR to another folder.",
                ) from None
        else:
            self._own(folder)

    def check_reach(self, folder: Path) -> None:
        """Check that this user may pass through `folder` and all folders above it.

        Raises
        ------
        ServerError
            Names the first that is closed.
        """
        for step in (*reversed(folder.parents), folder):
            with self._with_rights_of(0, 0, [0]):
                found = step.stat()
            if found.st_uid == self.uid:
                needed = stat.S_IXUSR
            elif found.st_gid == self.gid:
                needed = stat.S_IXGRP
            else:
                needed = stat.S_IXOTH
            if not found.st_mode & needed:
                raise ServerError(
                    f"the server runs as the user {_name(self.uid)}, who may not enter {step}",
                    "Set GEOSEARCH_DATA_DIR to a folder that user can reach, "
                    f"or allow it: chmod a+x {step}",
                )


def _is_only_roots(folder: Path) -> bool:
    """Whether nobody but root can change what is in a folder, or put another in its place."""
    others = stat.S_IWGRP | stat.S_IWOTH
    steps = [step.lstat() for step in (folder, *folder.parents)]
    return all(found.st_uid == 0 and stat.S_ISDIR(found.st_mode) for found in steps) and not any(
        found.st_mode & others and (found is steps[0] or not found.st_mode & stat.S_ISVTX)
        for found in steps
    )


def _become(uid: int, gid: int, groups: list[int]) -> None:
    """Take these rights, which root has put down or still has."""
    os.seteuid(0)
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)


def _regular(path: str, flags: int) -> int:
    """Opens regular files only: no link, and no pipe that nobody writes to."""
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
    else:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return handle
        os.close(handle)
    raise ServerError(f"{path} is no regular file", "Remove it: geosearch made none such.")


def _environment() -> dict[str, str]:
    # Nothing of the caller's: PG* variables would change what the programs do, and PROJ_DATA of a
    # Python environment would give PostGIS the wrong projection database.
    return {"PATH": os.defpath, "LC_ALL": "C"}


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
