"""The staff page: in a real browser what people do, over plain HTTP what nobody may do."""

import os
import re
import shutil
import sys
from pathlib import Path

import httpx
import msgspec
import pytest
from sqlalchemy import select

from contracts.consent import Purpose
from sync_server import tables
from sync_server.sql_store import open_store
from sync_server.staff import Role
from sync_server.staff_page.session import COOKIE, LIFETIME_MS, Sessions

TOKEN = "a-staff-token-of-the-tests"
ONLY_PUBLISH = f"a-token-for-{Role.PUBLISH}-alone"
SOFTWARE_ONLY = ["--headless=shell", "--disable-gpu", "--disable-software-rasterizer"]  # machines of tests have no GPU
ONLY_READ = f"a-token-for-{Role.READ}-alone"
HANDLE = re.compile(r"^[0-9a-f]{32}$")


def noted(world):
    """Who did what about whom, oldest first."""
    store = open_store(world.settings.database_url)
    try:
        with store.read() as connection:
            rows = connection.execute(select(tables.audit_log).order_by(tables.audit_log.c.number))
            return [(row.actor, row.action, row.handle) for row in rows]
    finally:
        store.close()


@pytest.fixture(scope="module")
def chromium():
    """The browser that `make setup` unpacks, or the system's; its libraries and a font are its own.

    It ends with these tests: while the driver's event loop stands, no other test of the process could run one.
    """
    from playwright.sync_api import sync_playwright

    folder = Path(sys.prefix) / "chromium"
    program = folder / "chromium" if (folder / "chromium").exists() else shutil.which("chromium")
    if program is None:
        pytest.fail(f"there is no browser in {folder}: run `make setup`, or install the system's package chromium")
    own = {"LD_LIBRARY_PATH": str(folder / "libraries" / "lib"), "FONTCONFIG_PATH": str(folder / "fonts")}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program, env={**os.environ, **own}, args=SOFTWARE_ONLY, chromium_sandbox=False
        )
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium, http_world):
    """An empty page of a browser that knows no cookie; anything on the page that is refused or fails is an error."""
    context = chromium.new_context(base_url=str(http_world.wire.http.base_url))
    context.set_default_timeout(20_000)
    opened, complaints = context.new_page(), []
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    context.close()
    assert [one for one in complaints if "status of 40" not in one] == []


def log_in(tab, token=TOKEN):
    tab.goto("/staff")
    tab.get_by_label("Your token").fill(token)
    tab.get_by_role("button", name="Log in").click()


def look_up(tab, identifier):
    tab.get_by_label("Identifier").fill(identifier)
    tab.get_by_role("button", name="Look up").click()


def test_a_person_is_found_by_an_identifier_and_the_page_says_why_two_are_one(tab, http_world):
    phone = http_world.phone()
    phone.log_in("login:ada of the page", "card:4711 of the page", purposes=(Purpose.PERSONALIZATION,))
    phone.sync(phone.event())
    log_in(tab)
    assert tab.locator("#waiting").inner_text() == "no broker"
    look_up(tab, "card:4711 of the page")
    rows = tab.locator("#identifiers tbody tr")
    assert rows.locator(".kind").all_inner_texts() == ["card", "login"]
    assert "the first one" in rows.nth(0).inner_text()
    why = rows.nth(1).inner_text()
    card = rows.nth(0).locator(".handle").inner_text()
    assert HANDLE.match(card)
    assert card in why
    assert phone.device_id in why
    assert "of the page" not in tab.content()  # no identifier, anywhere
    assert "4711" not in tab.url
    assert noted(http_world)[-1] == ("staff everything", "look_up", card)
    assert tab.locator("#noted tbody tr").first.inner_text().split("\t")[1:] == ["staff everything", "look_up"]


def two_who_were_taken_for_one(http_world, name):
    phone = http_world.phone()
    phone.log_in(f"login:{name}", f"card:{name}", purposes=(Purpose.PERSONALIZATION,))
    phone.sync(phone.event())
    return phone


def test_what_is_ticked_is_somebody_else_until_that_is_lifted(tab, http_world):
    two_who_were_taken_for_one(http_world, "apart")
    log_in(tab)
    look_up(tab, "login:apart")
    rows = tab.locator("#identifiers tbody tr")
    rows.filter(has_text="card").get_by_role("checkbox").first.check()
    tab.get_by_role("button", name="Unmerge").click()
    assert tab.locator("#separations tbody tr").count() == 1
    assert rows.count() == 1
    tab.locator("#separations a").click()
    assert rows.count() == 1
    assert noted(http_world)[-1][:2] == ("staff everything", "look_up")
    assert "unmerge" in [action for _, action, _ in noted(http_world)[-4:]]
    tab.get_by_role("button", name="Lift").click()
    assert rows.count() == 2
    assert tab.locator("#separations").count() == 0


def test_a_person_is_exported_as_a_file_and_erased_once_that_is_typed(tab, http_world):
    two_who_were_taken_for_one(http_world, "leaving")
    log_in(tab)
    look_up(tab, "card:leaving")
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Export").click()
    exported = msgspec.json.decode(Path(download.value.path()).read_bytes())
    assert len(exported["owners"]) == 2
    assert len(exported["events"]) == 1
    tab.get_by_role("button", name="Erase").click()  # the field is empty: the browser sends nothing
    assert tab.get_by_role("heading", name="Person").is_visible()
    tab.get_by_label("To erase all").fill("erase")
    tab.get_by_role("button", name="Erase").click()
    assert "Nothing is held" in tab.get_by_role("status").inner_text()
    assert [action for _, action, _ in noted(http_world)[-2:]] == ["export", "erase"]
    tab.goto("/staff")
    look_up(tab, "login:leaving")
    assert "nobody is known" in tab.get_by_role("alert").inner_text()


def test_who_may_only_read_cannot_act(tab, http, http_world):
    two_who_were_taken_for_one(http_world, "kept")
    log_in(tab, ONLY_READ)
    look_up(tab, "login:kept")
    assert tab.get_by_role("button").all_inner_texts() == ["Log out"]
    handle = tab.url.rpartition("/")[2]
    http.post("/staff/session", data={"token": ONLY_READ})
    form_token = re.search('name="form_token" value="([0-9a-f]+)"', http.get("/staff").text)[1]
    for act in ("unmerge", "lift", "export", "erase"):
        sent = {"form_token": form_token, "confirmed": "erase", "part": handle}
        answer = http.post(f"/staff/people/{handle}/{act}", data=sent)
        assert answer.status_code == 403
        assert "lacks the role erase" in answer.text


def test_an_unknown_identifier_is_said_to_be_unknown_and_noted(tab, http_world):
    log_in(tab)
    look_up(tab, "card:nobody has this")
    assert "nobody is known" in tab.get_by_role("alert").inner_text()
    assert noted(http_world)[-1] == ("staff everything", "look_up", "")
    tab.go_back()
    look_up(tab, "no kind")
    assert "kind:value" in tab.get_by_role("alert").inner_text()


def test_the_fleets_health_counts_what_devices_did(tab, http_world):
    log_in(tab)

    def figure(name):
        return int(tab.locator(f"#{name}").inner_text().split()[0])

    before = {name: figure(name) for name in ("seen", "agreement", "missing", "quarantined")}
    phone = http_world.phone()
    phone.log_in("login:of the health", purposes=(Purpose.ANALYTICS,))
    phone.seq += 3  # these never come
    phone.sync(phone.event(type="no type that is known"), owner=phone.owner)
    tab.reload()
    after = {name: figure(name) for name in before}
    assert after == {
        "seen": before["seen"] + 1,
        "agreement": before["agreement"] + 1,
        "missing": before["missing"] + 3,
        "quarantined": before["quarantined"] + 1,
    }


def test_who_logs_out_or_has_no_role_sees_nothing(tab):
    log_in(tab, "no token of anybody")
    assert "unknown" in tab.get_by_role("alert").inner_text()
    log_in(tab, ONLY_PUBLISH)
    assert "lacks the role read" in tab.get_by_role("alert").inner_text()
    tab.get_by_role("button", name="Log out").click()
    log_in(tab)
    assert tab.get_by_role("heading", name="The fleet").is_visible()
    assert not tab.evaluate("document.cookie")  # no script could read it
    tab.get_by_role("button", name="Log out").click()
    assert tab.get_by_label("Your token").is_visible()
    tab.go_back()
    tab.reload()
    assert tab.get_by_label("Your token").is_visible()


@pytest.fixture
def http(http_world):
    with httpx.Client(base_url=http_world.wire.http.base_url, timeout=30) as client:
        yield client


def test_a_page_lets_the_browser_do_nothing_but_show_it(http):
    answer = http.get("/staff")
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 401
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    cookie = http.post("/staff/session", data={"token": TOKEN}).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/staff" in cookie


@pytest.mark.parametrize("form_token", ["", "0" * 64])
def test_a_form_that_no_page_of_the_session_made_does_nothing(http, http_world, form_token):
    http.post("/staff/session", data={"token": TOKEN})
    before = noted(http_world)
    answer = http.post("/staff/people", data={"identifier": "card:1", "form_token": form_token})
    assert answer.status_code == 403
    assert noted(http_world) == before


@pytest.mark.parametrize("path", ["/staff", "/staff/people/" + "0" * 32])
def test_without_a_session_there_is_only_the_login(http, http_world, path):
    before = noted(http_world)
    for cookie in (None, "", "x", "e30.1.0", "ZXZlcnl0aGluZw.9999999999999.00", "a.b.c"):
        answer = http.get(path, headers={"cookie": f"{COOKIE}={cookie}"} if cookie is not None else {})
        assert answer.status_code == 401
        assert "Your token" in answer.text
    assert noted(http_world) == before


@pytest.mark.parametrize("body", [b"", b"form_token=%ff%00&identifier", b"\xff" * 100, b"a" * 20_000])
def test_no_form_breaks_the_server(http, body):
    http.post("/staff/session", data={"token": TOKEN})
    for path in ("/staff/people", "/staff/session/end", "/staff/session"):
        answer = http.post(path, content=body, headers={"content-type": "application/x-www-form-urlencoded"})
        assert 400 <= answer.status_code < 500
    assert http.post("/staff/people", content=body, headers={"content-type": "text/plain"}).status_code == 400


def test_a_session_ends_with_the_day_the_token_or_the_membership(world):
    now = world.clock.now_ms()
    cookie = Sessions(world.settings).begin(TOKEN, now)
    session = Sessions(world.settings).read(cookie, now + LIFETIME_MS)
    assert (session.name, session.actor) == ("everything", "staff everything")
    assert Sessions(world.settings).read(cookie, now + LIFETIME_MS + 1) is None
    assert Sessions(world.settings).read(cookie, now - 1) is None
    name, begun, mac = cookie.split(".")
    later = f"{name}.{int(begun) + 1}.{mac}"
    assert Sessions(world.settings).read(later, now + 2) is None
    staff = dict(world.settings.staff)
    other = staff.pop("everything")
    for changed in (staff, {**staff, "everything": type(other)(token_sha256="0" * 64, roles=other.roles)}):
        settings = type(world.settings)(**{**as_dict(world.settings), "staff": changed})
        assert Sessions(settings).read(cookie, now) is None


def as_dict(settings):
    return {name: getattr(settings, name) for name in settings.__struct_fields__}
