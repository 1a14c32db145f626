"""Serve the application over HTTP."""

import socket
from collections.abc import Callable
from ipaddress import ip_address

import structlog
import uvicorn

from embedsvc import __version__
from embedsvc.app import build_service, create_app
from embedsvc.errors import ConfigError
from embedsvc.home import served
from embedsvc.logs import configure
from embedsvc.services.service import Service
from embedsvc.settings import Settings
from embedsvc.store.database import sqlite_may_be_shared

log = structlog.get_logger(__name__)

_GRACE_SECONDS = 10
_KEEP_ALIVE_SECONDS = 75  # longer than clients keep an idle connection, so that they close it


def run(settings: Settings, build: Callable[[Settings], Service] = build_service) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError before anything is opened."""
    configure(settings.log_level)
    _refuse_open_address(settings.host)
    listener = _listen(settings.host, settings.port)
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    alone = settings.url.startswith("sqlite") and not sqlite_may_be_shared()
    with listener, served(settings.home, url, alone=alone):
        application = create_app(build(settings))
        log.info("serving", url=url, home=str(settings.home), version=__version__)
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port"
        ) from error
    listener.set_inheritable(True)
    return listener


def _refuse_open_address(host: str) -> None:
    """Without keys, only loopback: otherwise anybody on the network could read and write."""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"EMBEDSVC_HOST is {host!r}, and no API key is configured: anybody who reaches that "
            "address could read and change everything; use 127.0.0.1"
        )
