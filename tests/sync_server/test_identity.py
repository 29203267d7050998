"""The shop's OpenID Connect tokens: keys of three algorithms, given or discovered, and nothing but owners taken."""

import http.server
import json
import threading
from collections import Counter

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import AuthenticationError, ConfigError
from contracts.identity import OwnerKind
from sync_server.identifier_rules import IdentifierRules
from sync_server.identity import Issuer, Proof
from sync_server.identity_keys import MAX_AGE_S, MIN_PAUSE_S, IdentityKeys, UnknownKeyError
from tests.sync_server.test_identifiers import everything

NOW_S = 1_700_000_000
ISS, AUD = "https://login.shop.example", "shop"
PRIVATE = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
SERIALIZE = {
    "RS256": jwt.algorithms.RSAAlgorithm,
    "ES256": jwt.algorithms.ECAlgorithm,
    "EdDSA": jwt.algorithms.OKPAlgorithm,
}


def jwk(name, **fields):
    public = SERIALIZE[name].to_jwk(PRIVATE[name].public_key(), as_dict=True)
    return public | {"kid": name, "use": "sig", "alg": name} | fields


JWKS = {"keys": [jwk(name) for name in PRIVATE]}


def token(algorithm="EdDSA", key=None, kid="", **claims):
    said = {"iss": ISS, "aud": AUD, "sub": "ada", "exp": NOW_S + 60} | claims
    said = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(said, key or PRIVATE[algorithm], algorithm=algorithm, headers={"kid": kid or algorithm})


def issuer(keys=None, **fields):
    defaults = {"name": ISS, "audience": AUD, "claims": {"card": OwnerKind.CARD, "old": OwnerKind.LOGIN}}
    keys = keys or IdentityKeys(ISS, JWKS)
    return Issuer(**(defaults | {"keys": keys, "rules": IdentifierRules(), "leeway_s": 60} | fields))


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_each_algorithm_is_verified_with_the_key_that_the_token_names(algorithm):
    assert issuer().verify([token(algorithm)], 1000 * NOW_S) == (Proof("login:ada"),)
    head, body, signature = token(algorithm).split(".")
    other = token(algorithm, sub="eve").split(".")[1]
    for forged in (f"{head}.{other}.{signature}", f"{head}.{body}.", token(algorithm, kid="EdDSA2"), "a.b.c", "", "é"):
        with pytest.raises(AuthenticationError, match="get a new one"):
            issuer().verify([forged], 1000 * NOW_S)


def test_the_key_decides_the_algorithm():
    public = PRIVATE["RS256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    confused = jwt.api_jws.PyJWS()
    confused.unregister_algorithm("HS256")
    confused.register_algorithm("HS256", _Any())
    payload = json.dumps({"iss": ISS, "aud": AUD, "sub": "ada", "exp": NOW_S + 60}).encode()
    for forged in (
        confused.encode(payload, public, algorithm="HS256", headers={"kid": "RS256"}),
        jwt.encode(json.loads(payload), None, algorithm="none", headers={"kid": "RS256"}),
        token("ES256", kid="RS256"),
    ):
        with pytest.raises(AuthenticationError):
            issuer().verify([forged], 1000 * NOW_S)


class _Any(jwt.algorithms.HMACAlgorithm):
    """An attacker's library, which signs with a public key as the secret."""

    def __init__(self):
        super().__init__(jwt.algorithms.HMACAlgorithm.SHA256)

    def prepare_key(self, key):
        return key


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"iss": "https://other.example"}, "ssuer"),
        ({"aud": "another"}, "udience"),
        ({"aud": None}, "aud"),
        ({"iss": None}, "iss"),
        ({"sub": None}, "sub"),
        ({"exp": None}, "exp"),
        ({"exp": NOW_S - 61}, "expired"),
        ({"nbf": NOW_S + 61}, "not valid yet"),
        ({"exp": "tomorrow"}, "another type"),
        ({"sub": "x" * 200}, "longer"),
        ({"sub": "guest"}, "placeholder"),
    ],
)
def test_a_claim_that_is_not_good_is_refused(claims, says):
    with pytest.raises(AuthenticationError, match=says):
        issuer().verify([token(**claims)], 1000 * NOW_S)


def test_clocks_may_be_apart_by_the_leeway():
    assert issuer().verify([token(exp=NOW_S - 59, nbf=NOW_S + 59, aud=["web", AUD])], 1000 * NOW_S)


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=150)
VALUES = st.recursive(SCALARS, lambda some: st.lists(some, max_size=4), max_leaves=8)


@given(st.dictionaries(st.sampled_from(["card", "old", "email", "name"]), VALUES))
def test_whatever_claims_hold_only_identifiers_of_the_chosen_ones_are_taken(claims):
    (proof,) = issuer().verify([token(**claims)], 1000 * NOW_S)
    texts = {name: value if isinstance(value, list) else [value] for name, value in claims.items()}
    kinds = {"card": "card", "old": "login"}
    allowed = {f"{kind}:{value}" for name, kind in kinds.items() for value in texts.get(name, [])}
    assert proof.sub == "login:ada"
    assert set(proof.also) <= allowed - {"login:ada"}


def test_a_card_and_a_list_of_cards_are_linked_and_placeholders_are_not():
    said = token(card=["4929", "0000", "4930", "4929"], old="ada.l", email="ada@shop.example")
    assert issuer().verify([said], 1000 * NOW_S) == (Proof("login:ada", ("card:4929", "card:4930", "login:ada.l")),)


def test_nothing_else_of_a_token_is_kept(world, tmp_path):
    phone = world.phone()
    secret = {"email": "ada@shop.example", "name": "Ada Lovelace", "picture": "https://ada.example/me"}
    shown = world.provider.token("login:ada.lovelace", "card:4929-1188", **secret)
    phone.owner = "login:ada.lovelace"
    phone.sync(owner=phone.owner, identity_tokens=(shown,))
    phone.sync(phone.event(), identity_tokens=(shown,))
    kept = everything(world.store, tmp_path)
    assert [text for text in (*secret.values(), "ada.lovelace", "4929-1188", shown) if text.encode() in kept] == []


class TestGivenKeys:
    def test_symmetric_keys_other_uses_and_what_is_no_key_are_passed_over(self):
        keys = [
            {"kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256"},
            jwk("ES256", use="enc"),
            {"kty": "magic"},
            7,
            jwk("EdDSA"),
        ]
        held = IdentityKeys(ISS, {"keys": keys})
        assert held.of("EdDSA").algorithm_name == "EdDSA"
        assert held.of(None) is held.of("EdDSA")  # the only one
        for other in ("a", "ES256", 5):
            with pytest.raises(AuthenticationError):
                held.of(other)

    @pytest.mark.parametrize("jwks", [{}, {"keys": []}, {"keys": 3}, {"keys": [jwk("ES256", use="enc")]}])
    def test_a_set_without_a_usable_key_is_refused(self, jwks):
        with pytest.raises(ConfigError, match="JWKS"):
            IdentityKeys(ISS, jwks)

    def test_an_issuer_in_clear_is_refused(self):
        with pytest.raises(ConfigError, match="https"):
            IdentityKeys("http://login.shop.example")


class Provider(http.server.BaseHTTPRequestHandler):
    """An identity provider on loopback; `keys` and `down` may be changed."""

    def do_GET(self):
        server = self.server
        server.asked[self.path] += 1
        found = {
            "/.well-known/openid-configuration": {"issuer": server.issuer, "jwks_uri": f"{server.issuer}/jwks"},
            "/jwks": {"keys": server.keys},
        }.get(self.path)
        self.send_response(503 if server.down or found is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def provider():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    server.issuer = f"http://127.0.0.1:{server.server_port}"
    server.keys, server.down, server.asked = [jwk("ES256")], False, Counter()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class TestDiscovery:
    @pytest.fixture
    def clock(self):
        return [1000.0]

    @pytest.fixture
    def found(self, provider, clock):
        return issuer(IdentityKeys(provider.issuer, clock=lambda: clock[0]), name=provider.issuer)

    def test_keys_are_discovered_and_a_new_one_is_fetched_when_a_token_names_it(self, provider, clock, found):
        assert found.verify_fetching([token("ES256", iss=provider.issuer)], 1000 * NOW_S)
        provider.keys.append(jwk("RS256"))
        with pytest.raises(AuthenticationError):
            found.verify_fetching([token("RS256", iss=provider.issuer)], 1000 * NOW_S)  # too soon after the last time
        clock[0] += MIN_PAUSE_S
        assert found.verify_fetching([token("RS256", iss=provider.issuer)], 1000 * NOW_S)
        assert provider.asked["/jwks"] == 2

    def test_invented_key_ids_do_not_flood_the_provider(self, provider, clock, found):
        for number in range(100):
            clock[0] += 1
            with pytest.raises(AuthenticationError):
                found.verify_fetching([token("ES256", kid=f"k{number}", iss=provider.issuer)], 1000 * NOW_S)
        assert provider.asked["/jwks"] <= 100 // MIN_PAUSE_S + 1

    def test_a_withdrawn_key_ends_and_an_outage_ends_nothing(self, provider, clock, found):
        mine = [token("ES256", iss=provider.issuer)]
        found.verify_fetching(mine, 1000 * NOW_S)
        provider.down = True
        clock[0] += MAX_AGE_S
        assert found.verify_fetching(mine, 1000 * NOW_S)
        provider.down, provider.keys = False, [jwk("RS256")]
        clock[0] += MAX_AGE_S
        with pytest.raises(AuthenticationError):
            found.verify_fetching(mine, 1000 * NOW_S)

    def test_a_document_of_another_issuer_is_not_believed(self, provider, found):
        mine = [token("ES256", iss=provider.issuer)]
        found.keys._issuer += "/"
        with pytest.raises(AuthenticationError):
            found.verify_fetching(mine, 1000 * NOW_S)

    def test_before_the_first_fetch_a_token_asks_for_it(self, provider, found):
        with pytest.raises(UnknownKeyError):
            found.verify([token("ES256", iss=provider.issuer)], 1000 * NOW_S)

    def test_a_server_discovers_keys_while_it_serves(self, provider, tmp_path):
        from tests.sync_server.conftest import ServerProcess

        server = ServerProcess(tmp_path, identity_issuer=provider.issuer, identity_keys=None)
        try:
            world = server.start()
            phone = world.phone()
            shown = token("ES256", iss=provider.issuer, sub="ada", aud="shop", exp=world.clock.now_ms() // 1000 + 60)
            phone.owner = "login:ada"
            assert phone.sync(owner="login:ada", identity_tokens=(shown,)).profile is not None
            assert phone.sync(owner="login:ada", identity_tokens=(shown,)).profile is not None
            assert provider.asked["/jwks"] == 1
        finally:
            assert server.stop() == 0


def test_settings_with_a_key_set_come_back_from_their_file(world):
    settings = world.settings
    assert msgspec.json.decode(msgspec.json.encode(settings), type=type(settings)) == settings
