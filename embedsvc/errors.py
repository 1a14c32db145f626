"""Every error a caller of embedsvc can meet.

    EmbedsvcError
    ├ NotFound            nothing has that name or id
    ├ Conflict            it contradicts what is stored
    ├ InvalidInput        the request cannot be understood
    ├ TooLarge            over a limit
    ├ UnsupportedFormat   a media type or file format that nothing here reads
    ├ Unauthorized        who are you
    ├ Forbidden           you may not
    ├ StorageFull         no space left to write
    ├ Unavailable         not ready yet, or shutting down
    ├ ConfigError         the settings are wrong
    │ ├ UnknownProvider   no backend of that name
    │ ├ MissingDependency a package is not installed; says the pip install
    │ └ MissingKey        the key of a provider is not set; names the variable
    └ ProviderError       a model provider failed
      ├ ProviderBusy      over its rate limit; may carry retry_after
      ├ ProviderTimeout   did not answer in time
      ├ ProviderDenied    does not accept the key, or has no such model
      │ └ QuotaExhausted  the account has nothing left
      ├ ProviderRejected  refused the texts of the request
      │ └ PromptTooLong   they are more than its model can read
      └ ProviderWrong     answered what cannot be right

No class here knows HTTP: `embedsvc.api.errors` holds the one table of status codes.
"""


class EmbedsvcError(Exception):
    """The root: a stable `code` for programs and a `detail` in words for people."""

    code = "internal_error"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return False

    @property
    def logged(self) -> str:
        """What may be written into a log."""
        return self.detail


class NotFound(EmbedsvcError):
    """Nothing has that name or id."""

    code = "not_found"


class Conflict(EmbedsvcError):
    """The request contradicts what is stored."""

    code = "conflict"


class InvalidInput(EmbedsvcError):
    """The request cannot be understood; `detail` names the value and the fix."""

    code = "invalid_request"


class TooLarge(EmbedsvcError):
    """The request is over a limit; `detail` names the limit."""

    code = "too_large"


class UnsupportedFormat(EmbedsvcError):
    """Nothing here reads that media type or file format; `detail` names those that are read."""

    code = "unsupported_media_type"


class Unauthorized(EmbedsvcError):
    """No valid key came with the request."""

    code = "unauthorized"


class Forbidden(EmbedsvcError):
    """The key does not allow this."""

    code = "forbidden"


class StorageFull(EmbedsvcError):
    """The disk has no space left; nothing of the request was written."""

    code = "storage_full"

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return True


class Unavailable(EmbedsvcError):
    """The service cannot answer now: it starts, stops, or waits for a lock."""

    code = "unavailable"

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return True


class ConfigError(EmbedsvcError):
    """A setting is wrong; `detail` names it and the fix."""

    code = "invalid_configuration"


class UnknownProvider(ConfigError):
    """No backend, engine or model has that name."""

    code = "unknown_provider"


class MissingDependency(ConfigError):
    """A package that this backend needs is not installed."""

    code = "missing_dependency"


class MissingKey(ConfigError):
    """The key of a provider is not set; `detail` names the variable."""

    code = "key_missing"


class ProviderError(EmbedsvcError):
    """A model provider failed."""

    code = "provider_failed"

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return True

    @property
    def logged(self) -> str:
        """Who failed, and how, without the provider's own words, which may quote texts."""
        return self.detail.partition(": ")[0]


class ProviderBusy(ProviderError):
    """The provider is over its rate limit."""

    code = "provider_busy"

    def __init__(self, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ProviderTimeout(ProviderError):
    """The provider did not answer in time."""

    code = "provider_timeout"


class ProviderDenied(ProviderError):
    """The provider does not accept the key, or has no such model; no text is at fault."""

    code = "provider_denied"

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return False


class QuotaExhausted(ProviderDenied):
    """The account has nothing left: no waiting helps, but another provider may."""


class ProviderRejected(ProviderError):
    """The provider refuses what it was sent; trying again does not help."""

    code = "provider_rejected"

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return False


class PromptTooLong(ProviderRejected):
    """The model cannot read so much; one with a larger window may."""


class ProviderWrong(ProviderError):
    """The provider answered what cannot be right, such as vectors that are no numbers."""
