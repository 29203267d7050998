"""The one error tree.

Every message says in one line what was given, what is allowed and what to do next. The command line prints
it and ends with `exit_code`; the sync server answers `http_status`.
"""


class PocketrecError(Exception):
    """Base of every error that pocketrec raises on purpose."""

    exit_code = 1
    http_status = 500


class CheckFailed(PocketrecError):
    """The command ran, and what it checked does not hold (a parity gate, a golden, a fleet count)."""


class InputError(PocketrecError):
    """What was given cannot be used."""

    exit_code = 2
    http_status = 400


class ConfigError(InputError):
    """A project file or an option is wrong."""


class DataError(InputError):
    """An event log or a catalogue cannot be used."""


class RunError(InputError):
    """A run directory is missing, of another version, or not what its record says."""


class BundleError(InputError):
    """A bundle cannot be used."""


class IntegrityError(BundleError):
    """A file of a bundle is not the file its manifest or its repository names."""


class SignatureError(BundleError):
    """A bundle is not signed by the keys that the holder trusts."""


class RollbackError(BundleError):
    """A bundle is older than the one already held."""


class GoldenError(BundleError):
    """A bundle's model does not answer its goldens on this device."""


class WireError(InputError):
    """A message between a device and the server is malformed."""


class LimitError(WireError):
    """A message is larger, deeper or longer than the named limit."""

    http_status = 413


class TooManyError(LimitError):
    """More was asked for within a time than the named limit allows."""

    http_status = 429

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s  # when it is worth another try


class UnknownError(WireError):
    """What a message names is not there."""

    http_status = 404


class AuthenticationError(InputError):
    """A device, an identity token or a staff token could not be verified."""

    http_status = 401


class PermissionDenied(InputError):
    """Who asks is known and may not do this."""

    http_status = 403


class PrivacyError(PocketrecError):
    """Going on would break a privacy guarantee: the step is refused, nothing was released."""
