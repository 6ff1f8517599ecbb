"""The system user a private server runs as: PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from geosearch.errors import ServerError


@dataclass(frozen=True)
class Owner:
    """Who owns the server's files and processes."""

    uid: int
    gid: int

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
            (folder.stat().st_uid, folder.stat().st_gid)
            for folder in (data_dir / "postgres", data_dir)
            if folder.exists()
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
                return cls(uid, gid)
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid)
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
        drop = {"user": self.uid, "group": self.gid, "extra_groups": []} if _is_root() else {}
        try:
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

    def own(self, path: Path) -> None:
        """Give `path`, which we made, to this user."""
        if _is_root():
            os.chown(path, self.uid, self.gid)

    def make_folder(self, folder: Path) -> None:
        """Make a folder only this user may enter, or check that an existing one is that.

        Raises
        ------
        ServerError
            Someone else made it, or others may enter it.
        """
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
            self.own(folder)

    def check_reach(self, folder: Path) -> None:
        """Check that this user may pass through `folder` and all folders above it.

        Raises
        ------
        ServerError
            Names the first that is closed.
        """
        for step in (*reversed(folder.parents), folder):
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


def _is_root() -> bool:
    return os.geteuid() == 0


def _environment() -> dict[str, str]:
    # Nothing of the caller's: PG* variables would change what the programs do, and PROJ_DATA of a
    # Python environment would give PostGIS the wrong projection database.
    return {"PATH": os.defpath, "LC_ALL": "C"}


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
