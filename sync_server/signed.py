"""Who sent a request: what every endpoint for devices asks first."""

from litestar import Request, Response

from contracts.sync import CHALLENGE_HEADER
from sync_server import devices
from sync_server.devices import Signer
from sync_server.wire import Body


def signer(request: Request, body: Body) -> Signer:
    """The device that signed a request, which is counted against its rate.

    Raises:
        AuthenticationError: if none did.
        TooManyError: if it asks too often.
    """
    state, header = request.app.state, request.headers.get("authorization")
    now_ms, path = state.store.now_ms(), request.url.path
    found = devices.authenticate(state.device_keys, state.challenges, header, request.method, path, body.sent, now_ms)
    state.rates.request(found.device_id, found.role)
    return found


def challenged(request: Request, response: Response) -> Response:
    """An answer to a device with the challenge for its next request."""
    device_id = devices.claimed_id(request.headers.get("authorization"))
    if device_id is not None:
        state = request.app.state
        response.headers[CHALLENGE_HEADER] = state.challenges.issue(device_id, state.store.now_ms())
    return response
