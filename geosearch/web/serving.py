"""A server on a port of this machine, from its start to its end."""

from __future__ import annotations

import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Sequence

from geosearch.database.connection import Database
from geosearch.database.session import reachable_url
from geosearch.errors import InputError
from geosearch.installation import optional

#: Names of this machine to itself.
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
#: Seconds that answers at work have to finish when the server is to end.
_END_S = 30


def serve(
    database: Database,
    models: Sequence[str],
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    auth: bool = False,
    device: str = "auto",
    browse: bool = False,
    started: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve page and API until SIGINT or SIGTERM; answers that are at work then are finished.

    `auth`: everybody logs in as a role of the database. Else all are the login of `database`, and
    only this machine is served. `started` is called with the address, which `browse` opens.

    Raises
    ------
    MissingExtraError
        The packages of the extra `web` are not installed.
    InputError
        The port is taken, the host is not this machine's, or it is another than this machine to
        itself, and there are no logins; or nobody could log in.
    """
    uvicorn = optional("geosearch serve", "web", "uvicorn", "fastapi", "python_multipart")
    from geosearch.web.access import Gate, LoginGate, asks_for_passwords
    from geosearch.web.application import make_application
    from geosearch.web.engine import Engine
    from geosearch.web.slow_clients import Impatient

    local = host in LOOPBACK
    if not local and not auth:
        raise InputError(
            f"`host`: {host} lets other machines in, and all would have this login's rights",
            "Have them log in as roles of the database: give `auth`. See docs/web.md.",
        )
    url = reachable_url(database)
    if auth and not asks_for_passwords(url):
        raise InputError(
            "`auth`: the server of the database asks for no password on the way that this server "
            "connects, so nobody could log in",
            "For the private server: geosearch db start --port 5433. Else have pg_hba.conf ask for "
            "one (scram-sha-256).",
        )
    listening = _listening(host, port)
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listening.getsockname()[1]}"
    gate = LoginGate(database, url) if auth else Gate(database)
    ending = threading.Event()

    class Server(uvicorn.Server):  # type: ignore[misc, name-defined]
        def handle_exit(self, number: int, _: object) -> None:
            self.force_exit = ending.is_set() and number == signal.SIGINT  # asked twice
            self.should_exit = True
            ending.set()

    hosts = {*LOOPBACK, host} if local else None
    app = make_application(Engine(models, device), gate, hosts, ending.is_set)
    server = Server(
        uvicorn.Config(
            app,
            http=Impatient,
            ws="none",
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=_END_S,
        )
    )
    started(address)
    if browse:
        threading.Timer(1.0, webbrowser.open, [address]).start()
    server.run([listening])


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(1024)
    except (OSError, OverflowError) as error:
        made.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"`port`: cannot listen at {host}, port {port}: {reason}",
            "Stop what listens there, or choose another `port`.",
        ) from error
    return made
