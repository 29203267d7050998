"""A person in figures: as a till or a web shop is told them, against what was sent."""

from pathlib import Path

import pytest

from contracts import codec
from contracts.affinities import PriceBand
from contracts.bundle import CATALOGUE
from contracts.consent import Consent, Purpose
from contracts.errors import PermissionDenied
from contracts.events import EventType
from contracts.profile import ProfileFigures, ProfileRequest, ProfileResponse
from contracts.recommendations import Fallback, RecommendationRequest, RecommendationResponse
from contracts.rfm import Rfm
from contracts.segments import VALUE, SegmentDefinition
from export.catalogue import EVERYONE, CatalogueContents, CatalogueItem, write_catalogue
from export.repository import publish
from sync_server.active_bundle import ActiveBundle
from sync_server.figures import profile_of

SEGMENTS = SegmentDefinition(  # by the logarithm of what was paid
    method="kmeans",
    window_hours=1000,
    features=(VALUE,),
    mean=(0.0,),
    deviation=(1.0,),
    centres=((9.0,), (3.0,)),
    names=("pays much", "pays little"),
)
PRICES = {"wine-a": 500, "wine-b": 900, "wine-c": 4000, "bread-a": 100, "bread-b": 100}


@pytest.fixture
def bundle(world, tmp_path, write_bundle) -> ActiveBundle:
    """One whose catalogue is real; figures need no model."""
    items = [CatalogueItem(item_id=item, category=item[:-2], price_minor=price) for item, price in PRICES.items()]
    contents = CatalogueContents([*items, CatalogueItem(item_id="unpriced")], {EVERYONE: [1]}, "EUR")
    write_catalogue(tmp_path / CATALOGUE, contents)
    files = {CATALOGUE: (tmp_path / CATALOGUE).read_bytes()}
    write_bundle(tmp_path / "bundle", 4, files, segments=SEGMENTS)
    publish(tmp_path / "bundle", Path(world.settings.repository), tmp_path / "keys")
    return ActiveBundle(Path(world.settings.repository))


def figures(world, bundle, device, owner) -> ProfileFigures:
    found = profile_of(world.store, bundle, device.device_id, ProfileRequest(owner=owner), ()).figures
    assert found is not None
    return found


def test_figures_are_over_all_owners_and_channels_and_an_order_counts_once(world, bundle):
    phone, till = world.phone(), world.till()
    phone.log_in("login:ada", "card:1")
    order = {"owner": "card:1", "order_id": "order-1"}
    till.sync(till.event("wine-a", **order), till.event("wine-c", **order))
    phone.sync(phone.event("wine-a", **order))  # the receipt, seen by the app too
    world.pass_hours(30)
    phone.sync(
        phone.event("bread-a", order_id="order-2"),
        phone.event("unpriced", order_id="order-2"),
        phone.event(None, EventType.SEARCH),
    )
    found = figures(world, bundle, phone, "login:ada")
    assert found == figures(world, bundle, till, "card:1")
    recent = {EventType.SEARCH: 1, EventType.PURCHASE: 2}
    assert found.windows == {
        "hour": recent,
        "day": recent,
        "week": recent | {EventType.PURCHASE: 4},
        "four_weeks": recent | {EventType.PURCHASE: 4},
    }
    assert found.rfm == Rfm(recency_hours=0, frequency=2, monetary=4 * 199)
    fading = 2 ** (-30 / 2880)
    assert found.categories == pytest.approx({"wine": 2 * fading / (1 + 2 * fading), "bread": 1 / (1 + 2 * fading)})
    assert [*found.categories] == ["wine", "bread"]
    shares = {PriceBand.LOW: fading, PriceBand.MIDDLE: 1.0, PriceBand.HIGH: fading}
    total = 1 + 2 * fading
    assert found.price_bands == pytest.approx({band: share / total for band, share in shares.items()})
    assert (found.segment, found.bundle_version) == ("pays much", 4)


def test_what_was_given_back_is_neither_a_purchase_nor_an_affinity(world, bundle):
    phone = world.phone()
    phone.log_in("login:ada")
    phone.sync(phone.event("wine-a", order_id="order-1"), phone.event("wine-a", EventType.REFUND, order_id="order-1"))
    found = figures(world, bundle, phone, "login:ada")
    assert (found.rfm, found.categories, found.price_bands) == (Rfm(), {}, {})
    assert found.windows["day"] == {EventType.REFUND: 1}
    assert found.segment == ""  # as who never bought


def test_without_a_bundle_the_rest_is_told(world, tmp_path):
    phone = world.phone()
    phone.log_in("login:ada")
    phone.sync(phone.event("wine-a", order_id="order-1"))
    found = figures(world, ActiveBundle(tmp_path / "nothing"), phone, "login:ada")
    assert found.rfm.frequency == found.windows["hour"][EventType.PURCHASE] == 1
    assert (found.categories, found.segment, found.bundle_version) == ({}, "", 0)


def test_only_decisions_are_told_without_consent_and_nothing_without_proof(world, bundle):
    phone, thief = world.phone(), world.phone()
    phone.log_in("login:ada", purposes=(Purpose.ANALYTICS,))
    phone.sync(phone.event("wine-a"))
    found = profile_of(world.store, bundle, phone.device_id, ProfileRequest(owner="login:ada"), ())
    assert found.figures is None
    assert found.consents[Purpose.ANALYTICS] == Consent(version=1, granted=True)
    assert found.consents[Purpose.PERSONALIZATION] == Consent()
    with pytest.raises(PermissionDenied, match="login cannot be asked about"):
        profile_of(world.store, bundle, thief.device_id, ProfileRequest(owner="login:ada"), ())
    stranger = profile_of(world.store, bundle, world.till().device_id, ProfileRequest(owner="card:9"), ())
    assert (stranger.version, stranger.figures) == (0, None)


@pytest.mark.parametrize("format", codec.FORMATS)
def test_channels_ask_over_http_with_a_signature(http_world, format):
    login, card = f"login:of {format}", f"card:of {format}"
    phone, till, thief = http_world.phone(), http_world.till(), http_world.phone()
    phone.log_in(login, card)
    phone.sync(phone.event("bread-a"))

    def ask(device, path, request, type_):
        response = http_world.wire.post(
            path, codec.encode(request, format), device.device_id, **{"content-type": format}
        )
        assert response.status_code == 200, response.text
        return codec.decode(response.content, type_, response.headers["content-type"].partition(";")[0])

    told = ask(till, "/v1/profile", ProfileRequest(owner=card), ProfileResponse)
    assert told.figures.windows["hour"] == {EventType.PURCHASE: 1}
    token = (http_world.provider.token(login),)
    assert ask(thief, "/v1/profile", ProfileRequest(owner=login, identity_tokens=token), ProfileResponse).figures
    shown = ask(till, "/v1/recommendations", RecommendationRequest(owner=card), RecommendationResponse)
    assert shown == RecommendationResponse(items=(), source="popularity", fallback=Fallback.NO_MODEL)
    body = codec.encode(ProfileRequest(owner=login), format)
    assert http_world.wire.post("/v1/profile", body, thief.device_id, **{"content-type": format}).status_code == 403
    assert http_world.wire.post("/v1/recommendations", body, **{"content-type": format}).status_code == 401
    for bad in (RecommendationRequest(count=1), {"count": 0}, {"owner": "x" * 200}, {"wish": "nothing"}):
        response = http_world.wire.post(
            "/v1/profile", codec.encode(bad, format), till.device_id, **{"content-type": format}
        )
        assert response.status_code == 400
