"""The Hugging Face hub, from which tokenizers, models and datasets may come."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

_SECONDS = 5.0  # for the name and the connection together
_SWITCH = "HF_HUB_OFFLINE"


@contextmanager
def hub_or_cache(identifier: str) -> Iterator[str]:
    """Use only the cache of the hub within the context if the hub cannot be reached.

    The libraries of Hugging Face would retry for half a minute before they read the cache or report an error.

    Args:
        identifier: the model or dataset to read.

    Yields:
        why the hub cannot be reached, for messages; "" if it can be reached. The hub is not tried, and the result is
        "", if the identifier is a local path, a proxy is configured, or the libraries are in offline mode already.
    """
    reason = "" if Path(identifier).exists() or constants.HF_HUB_OFFLINE or getproxies() else _obstacle()
    if not reason:
        yield ""
        return
    copy = sys.modules.get("datasets.config")  # has its own copy of the switch
    before = getattr(copy, _SWITCH, False)
    _switch(True, True)
    try:
        yield reason
    finally:
        _switch(False, before)


def _switch(hub: bool, datasets: bool) -> None:
    setattr(constants, _SWITCH, hub)
    if "datasets.config" in sys.modules:
        setattr(sys.modules["datasets.config"], _SWITCH, datasets)


def _obstacle() -> str:
    """Return why no connection to the hub can be opened within five seconds, or ""."""
    address = urlsplit(constants.ENDPOINT)
    host, port = address.hostname or "", address.port or (80 if address.scheme == "http" else 443)
    found = [f"no connection within {_SECONDS:g} seconds"]

    def connect() -> None:
        try:
            socket.create_connection((host, port), _SECONDS).close()
            found[0] = ""
        except OSError as error:
            found[0] = error.strerror or str(error)

    thread = Thread(target=connect, daemon=True)  # because no timeout applies to the look-up of a name
    thread.start()
    thread.join(_SECONDS)
    return f"{host} cannot be reached ({found[0]})" if found[0] else ""
