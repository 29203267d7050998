"""The endpoints of tills, web shops and kiosks: what to recommend to a person, and what is known of them."""

import asyncio
from typing import TypeVar

from litestar import Request, Response, post

from contracts.codec import decode
from contracts.profile import ProfileRequest
from contracts.recommendations import RecommendationRequest
from sync_server.figures import profile_of
from sync_server.identity import Proof
from sync_server.signed import challenged, signer
from sync_server.wire import Body, answer, read_body

Asked = TypeVar("Asked", RecommendationRequest, ProfileRequest)


@post("/v1/recommendations")
async def recommend(request: Request) -> Response:
    state, body = request.app.state, await read_body(request, request.app.state.settings.max_body_bytes)

    def work() -> Response:
        device_id, wanted, claims = _asked(request, body, RecommendationRequest)
        found = state.recommendations.answer(device_id, wanted, claims)
        return challenged(request, answer(found, request, body.format))

    return await asyncio.to_thread(work)


@post("/v1/profile")
async def tell_profile(request: Request) -> Response:
    state, body = request.app.state, await read_body(request, request.app.state.settings.max_body_bytes)

    def work() -> Response:
        device_id, wanted, claims = _asked(request, body, ProfileRequest)
        found = profile_of(state.store, state.bundle, device_id, wanted, claims)
        return challenged(request, answer(found, request, body.format))

    return await asyncio.to_thread(work)


def _asked(request: Request, body: Body, type_: type[Asked]) -> tuple[str, Asked, tuple[Proof, ...]]:
    """Who asks, what, and the proofs that came with it."""
    settings = request.app.state.settings
    device = signer(request, body)
    wanted = decode(body.decoded(settings.max_decoded_bytes), type_, body.format)
    now_ms = request.app.state.store.now_ms()
    claims = settings.issuer.verify_fetching(wanted.identity_tokens, now_ms)
    return device.device_id, wanted, claims


CHANNEL_ROUTES = (recommend, tell_profile)
