"""Listening at an address, and serving until Ctrl-C."""

from __future__ import annotations

import ipaddress
import socket
import sys

from rlhf_env.extras import importing
from studies.labelling.answers import Answering
from studies.labelling.settings import Settings
from studies.labelling.store import LabelStore
from studies.labelling.web.application import application
from studies.labelling.web.pages import Texts

with importing("label"):
    import uvicorn

# An open connection, such as that of a browser's tab, does not hold the end up.
SHUTDOWN_SECONDS = 2


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ValueError: if nothing can listen there.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"--host and --port must be a free address of this machine, got {host} {port}: "
            f"{reason.lower()}; choose --port 0 for a free one"
        ) from error


def serve(
    store: LabelStore,
    bounds: Answering,
    texts: Texts,
    settings: Settings,
    listening: socket.socket,
) -> None:
    """Print the address, and serve until the process is told to end."""
    port = listening.getsockname()[1]
    print(f"open {address(settings, port)}/?token={store.settings['token']}")
    print("every click is kept at once; Ctrl-C closes the page, the same command opens it again")
    if not _is_local(settings.host):
        print(
            "note: whoever reaches this machine and has the address can label, and nothing is "
            "encrypted on the way",
            file=sys.stderr,
        )
    sys.stdout.flush()
    app = application(store, bounds, texts, host=settings.host, more_hosts=settings.allow_host)
    config = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])


def address(settings: Settings, port: int) -> str:
    """Return where browsers find the page."""
    host = settings.allow_host[0] if settings.allow_host else settings.host
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}"


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
