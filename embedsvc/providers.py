"""Servers that speak OpenAI's protocol, and how each is found: its address and its key."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from embedsvc.errors import ConfigError, MissingKey
from embedsvc.settings import Settings


@dataclass(frozen=True, slots=True)
class Server:
    """Where a kind of server listens by default, and the variables that say otherwise.

    Where `key_needed`, a call without a key is refused before it is made.
    """

    url: str
    url_variable: str
    key_variable: str
    key_needed: bool = False


OPENAI_SERVERS: Mapping[str, Server] = {
    "openai": Server("https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY", True),
    "azure": Server("", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", True),
    "github": Server(
        "https://models.github.ai/inference", "GITHUB_MODELS_URL", "GITHUB_TOKEN", True
    ),
    "groq": Server("https://api.groq.com/openai/v1", "GROQ_BASE_URL", "GROQ_API_KEY", True),
    "ollama": Server("http://127.0.0.1:11434/v1", "OLLAMA_HOST", "OLLAMA_API_KEY"),
    "lmstudio": Server("http://127.0.0.1:1234/v1", "LMSTUDIO_BASE_URL", "LMSTUDIO_API_KEY"),
    "localai": Server("http://127.0.0.1:8080/v1", "LOCALAI_BASE_URL", "LOCALAI_API_KEY"),
    "vllm": Server("http://127.0.0.1:8000/v1", "VLLM_BASE_URL", "VLLM_API_KEY"),
    "tei": Server("http://127.0.0.1:3000/v1", "TEI_BASE_URL", "TEI_API_KEY"),
    "infinity": Server("http://127.0.0.1:7997", "INFINITY_BASE_URL", "INFINITY_API_KEY"),
    "textgen": Server("http://127.0.0.1:5000/v1", "TEXTGEN_BASE_URL", "TEXTGEN_API_KEY"),
}
"""Addresses as their own manuals give them; 127.0.0.1, because `localhost` may mean ::1 first."""

AZURE_VERSION = "2024-10-21"
"""Of Azure's API, unless OPENAI_API_VERSION names another."""

OLLAMA_PORT = 11_434
"""What OLLAMA_HOST means without a scheme and a port."""


def base_url(provider: str, settings: Settings) -> str:
    """The address of a server of OPENAI_SERVERS, without a slash at its end.

    Raises MissingKey when there is none, ConfigError when it is not an address.
    """
    server = OPENAI_SERVERS[provider]
    found = settings.variable(server.url_variable) or server.url
    if not found:
        raise MissingKey(
            f"{server.url_variable} is not set; put the address of your server into it"
        )
    if provider == "ollama" and "://" not in found:  # its own client takes HOST and HOST:PORT too
        found = _with_port(f"http://{found}", OLLAMA_PORT)
    if provider == "ollama" and urlsplit(found).path in ("", "/"):
        found = f"{found.rstrip('/')}/v1"
    return checked_url(found, server.url_variable)


def _with_port(url: str, port: int) -> str:
    """The same address; with that port where it has none."""
    parts = urlsplit(url)
    try:
        lacks = parts.port is None and not parts.netloc.endswith(":")
    except ValueError:
        return url
    return parts._replace(netloc=f"{parts.netloc}:{port}").geturl() if lacks else url


def checked_url(url: str, variable: str) -> str:
    """The address, if calls can go there. Raises ConfigError naming the variable."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{variable} is {url!r}; set it to an address such as https://host/v1")
    return url.rstrip("/")


def server_key(provider: str, settings: Settings) -> str | None:
    """The key of a server of OPENAI_SERVERS. Raises MissingKey where it cannot do without."""
    server = OPENAI_SERVERS[provider]
    needed = server.key_needed and destination_of(base_url(provider, settings)) is not None
    return key(server.key_variable, settings, needed=needed)


def key(variable: str, settings: Settings, *, needed: bool) -> str | None:
    """The key in that variable. Raises MissingKey when it is needed and missing."""
    found = settings.variable(variable)
    if found is None and needed:
        raise MissingKey(f"{variable} is not set; put your key into it")
    return found


def is_here(url: str) -> bool:
    """Whether the address is on this machine, so that nothing sent there leaves it."""
    try:
        name = urlsplit(url).hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def destination_of(url: str) -> str | None:
    """The host and port that texts are sent to; None when they stay on this machine."""
    return None if is_here(url) else (urlsplit(url).hostname or url)
