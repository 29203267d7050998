"""A platform's word that a device and its app are what they say: the operator's own check, named in the settings.

What Google or Apple attest is checked with their libraries and against the operator's own apps and accounts, which a
sync server cannot know. So it asks a function that the operator gives.
"""

from importlib import import_module
from typing import Protocol, cast

from contracts.errors import ConfigError
from contracts.sync import EnrolRequest


class Attest(Protocol):
    """What `ServerSettings.attestation` names, as `module:function`."""

    def __call__(self, request: EnrolRequest) -> str:
        """Judge an enrolment.

        Args:
            request: with `attestation`, what the platform said, the `public_key` that is to be enrolled, and the
                `challenge` that the platform must have attested: the server's, given for this key not long ago.

        Returns:
            why the device is refused; empty if it is accepted.
        """


def load(path: str) -> Attest:
    """The function that a path names.

    Raises:
        ConfigError: if the path is none, or names nothing that can be called.
    """
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"attestation = {path!r} cannot be loaded ({error}): use module:function") from None
    if not callable(found):
        raise ConfigError(f"attestation = {path!r} is a {type(found).__name__}: name a function of the module")
    return cast(Attest, found)
