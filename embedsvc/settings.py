"""Every setting of the service, read once. The only place that looks at the environment.

Sources, the first that names a setting wins: the command line, the environment, `.env`,
`embedsvc.toml`, the default.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Any, get_type_hints

from dotenv import dotenv_values

from embedsvc.errors import ConfigError

PREFIX = "EMBEDSVC_"
ELSEWHERE = frozenset({"DATA"})
"""Names with our prefix that tests and benchmarks read, and the service does not."""

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def _setting(default: Any, about: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"about": about, "choices": choices})


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration. Names are those of the environment without `EMBEDSVC_`."""

    host: str = _setting("127.0.0.1", "address to listen on; only loopback while no key exists")
    port: int = _setting(8000, "port to listen on")
    home: Path = _setting(Path("data/home"), "folder of the database and the index snapshots")
    database_url: str = _setting(
        "", "sqlite:///FILE or postgresql://…; default: embedsvc.db in the home folder"
    )
    index: str = _setting("faiss", "vector index: faiss or exact")
    embedding: str = _setting("local:all-MiniLM-L6-v2", "embedding of new collections")
    rerank: str = _setting("cosine", "reranker when a request names none")
    chat: str = _setting(
        "extractive", "what answers questions: extractive, a model, or a chain such as a:b,c:d"
    )
    record_days: int = _setting(30, "days that answers and conversations are kept; 0 keeps none")
    offline: bool = _setting(False, "refuse every backend that would send text off the machine")
    log_level: str = _setting(
        "info", "debug, info, warning or error", ("debug", "info", "warning", "error")
    )
    samples: bool = _setting(True, "load the sample documents into an empty service")
    synchronous: str = _setting(
        "full",
        "SQLite: full (acknowledged means on disk) or normal (may lose the last seconds)",
        ("full", "normal"),
    )
    threads: int = _setting(0, "threads of the local model; 0: one for each processor")
    provider_timeout: float = _setting(60, "seconds after which one call of a provider is given up")
    provider_deadline: float = _setting(
        180, "seconds for a call of a provider with all its repetitions and waits"
    )
    prices: str = _setting("", "TOML file with prices that come before those in the package")
    max_body_mb: int = _setting(64, "largest request body, in MB")
    max_document_chars: int = _setting(5_000_000, "longest text of one document, in characters")
    max_documents: int = _setting(1_000, "most documents in one request")

    variables: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """The other variables of the environment: keys and addresses of providers."""

    def variable(self, name: str) -> str | None:
        """A variable of a provider, such as OPENAI_API_KEY; None when unset or empty."""
        return self.variables.get(name) or None

    @property
    def url(self) -> str:
        """The database URL, with the default filled in."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'embedsvc.db'}"

    @property
    def shipped(self) -> Path:
        """The folder that holds `alembic/` and the samples: the checkout, or inside the wheel."""
        package = Path(__file__).resolve().parent
        wheel = package / "_shipped"
        return wheel if wheel.is_dir() else package.parent

    def model_folder(self, model: str) -> Path | None:
        """The folder `models/MODEL` of the home; None where there is none, or it lies elsewhere.

        The name may come with a request: it never leads out of the folder `models`.
        """
        folder = self.home / "models" / model
        if not model or set(model) & set("/\\\0") or model.startswith("."):
            return None
        try:
            return folder if folder.is_dir() else None
        except OSError:  # such as a name that is too long
            return None

    @property
    def samples_folder(self) -> Path:
        """Where the sample documents are."""
        checkout = self.shipped / "data" / "samples"
        return checkout if checkout.is_dir() else self.shipped / "samples"


_SETTINGS = [item for item in fields(Settings) if "about" in item.metadata]


def read_settings(
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    **overrides: Any,
) -> Settings:
    """Read the settings; `overrides` (from the command line) win, None among them is ignored.

    Raises ConfigError naming the setting, the value and the nearest known name.
    """
    environment = os.environ if environment is None else environment
    folder = Path.cwd() if folder is None else folder
    found: dict[str, Any] = {}
    found.update(_known(_toml(folder / "embedsvc.toml"), "embedsvc.toml"))
    found.update(_known(_prefixed(dotenv_values(folder / ".env")), ".env"))
    found.update(_known(_prefixed(environment), "the environment"))
    found.update({name: value for name, value in overrides.items() if value is not None})
    others = {**_others(dotenv_values(folder / ".env")), **_others(environment)}
    return replace(_checked(found), variables=others)


def describe() -> list[tuple[str, str, str]]:
    """Rows of (variable, default, meaning), for the documentation."""
    return [
        (PREFIX + item.name.upper(), _shown(item.default), item.metadata["about"])
        for item in _SETTINGS
    ]


def _shown(default: Any) -> str:
    return str(int(default)) if isinstance(default, bool) else str(default)


def _toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} is not valid TOML: {error}") from error


def _prefixed(values: Mapping[str, str | None]) -> dict[str, str]:
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in values.items()
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in ELSEWHERE and value
    }


def _others(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value and not name.startswith(PREFIX)}


def _known(values: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    known = [item.name for item in _SETTINGS]
    for name in values:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {PREFIX}{near[0].upper()}?" if near else ""
            raise ConfigError(f"{source} sets the unknown {PREFIX}{name.upper()}{hint}")
    return values


def _checked(found: Mapping[str, Any]) -> Settings:
    types = get_type_hints(Settings)
    settings = Settings(
        **{name: _convert(name, value, types[name]) for name, value in found.items()}
    )
    for item in _SETTINGS:
        choices, value = item.metadata["choices"], getattr(settings, item.name)
        if choices and value not in choices:
            raise ConfigError(
                f"{PREFIX}{item.name.upper()} is {value!r}; use {' or '.join(choices)}"
            )
        if item.type in (int, float) and not 0 <= value < inf:
            raise ConfigError(f"{PREFIX}{item.name.upper()} is {value}; use 0 or more")
    if not 0 <= settings.port <= 65535:
        raise ConfigError(f"EMBEDSVC_PORT is {settings.port}; use 1 to 65535, or 0 for a free one")
    return settings


def _convert(name: str, value: Any, kind: type) -> Any:
    variable = f"{PREFIX}{name.upper()}"
    if kind is float and isinstance(value, int):
        value = str(value)
    if not isinstance(value, str | kind | Path) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{variable} is {value!r}; use a {kind.__name__}")
    if kind is bool:
        word = str(value).lower()
        if word in _TRUE | _FALSE:
            return word in _TRUE
        raise ConfigError(f"{variable} is {value!r}; use 1 or 0")
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{variable} is {value!r}; use a {kind.__name__}") from error
