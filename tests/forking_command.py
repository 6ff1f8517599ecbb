"""The `geosearch` command for shells that call it often: each time a fork of one loaded process.

`python -m tests.forking_command FOLDER` writes a command `geosearch` into a folder, which asks the
process over the socket `asked` there, with its words, folder, environment and streams.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

CLIENT = f"""#!{sys.executable} -ISs
import json, os, socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect(os.path.join(os.path.dirname(os.path.abspath(__file__)), "asked"))
words = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(asked, [len(words).to_bytes(4, "big")], [0, 1, 2])
asked.sendall(words)
sys.exit(int(asked.recv(1)[0]))
"""


def serve(folder: Path) -> None:
    """Answer until the process is ended."""
    from geosearch.cli.app import COMMANDS

    for module, _ in COMMANDS.values():
        importlib.import_module(module)
    for name in (
        "client",
        "density.compiled_climb",
        "evaluation.calibrating",
        "features.onnx",
        "gis",
    ):
        importlib.import_module(f"geosearch.{name}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "asked"))
        listening.listen()
        command = folder / "geosearch"
        command.write_text(CLIENT)
        command.chmod(0o755)
        while True:
            asked, _ = listening.accept()
            if os.fork() == 0:
                _run(asked)
            asked.close()


def _run(asked: socket.socket) -> None:
    """Be one command, and end."""
    length, streams, *_ = socket.recv_fds(asked, 4, 3)
    said = b""
    while len(said) < int.from_bytes(length, "big"):
        said += asked.recv(1 << 16)
    words, folder, environment = json.loads(said)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["geosearch", *words]
    code = 1
    try:
        from geosearch.cli.app import main

        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        asked.sendall(bytes([code]))
        os._exit(code)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
