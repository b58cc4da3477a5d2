"""What the pages show, to whom, and that nothing anybody wrote becomes part of a page."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from everup.model.events import Event
from everup.model.observed import EVERYWHERE, Ground, Health, Observed
from everup.model.picture import Picture
from everup.web.acts import ACTS
from tests.api.small_desk import kept, on_hosts, redis, web, world
from tests.drills.finished import finished, stuck
from tests.web.conftest import sign_in, word_of

PAGES = ["/ui/?all", "/ui/e/shop", "/ui/e/shop/incidents", "/ui/e/shop/drills", "/ui/e/shop/s/redis01"]
PAGES += ["/ui/e/shop/s/web", "/ui/e/shop/logs/web", "/ui/e/shop/s/web/scale", "/ui/sign-in", "/ui/e/nowhere"]

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&{{7*7}}"

LEVELS = {
    "v": set(),
    "d": {"scale", "restart"},
    "o": {"scale", "restart", "limit", "ha", "switchover"},
}
"""Token -> what it may do; which of that fits a service is another matter."""

FITS = {"web": {"scale", "restart", "limit"}, "redis01": {"restart", "switchover", "ha"}}


class Tags(HTMLParser):
    """Every tag of a page with its attributes; whether each that was opened was closed."""

    VOID = frozenset({"meta", "link", "input", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open and self.open.pop() != tag:
                pass

    def handle_data(self, text):
        self.texts.append(text)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
async def browser(browse):
    browser = browse()
    await sign_in(browser, "o")
    return browser


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_forbids_what_it_does_not_need_and_keeps_to_it(browser, path):
    answer = await browser.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store" and answer.headers["x-content-type-options"] == "nosniff"
    page = Tags(answer.text)
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag != "style" and "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "/").startswith(("/ui", "#", "/")), (tag, attributes)
            assert not (attributes.get(name) or "/").startswith("//")
    assert all(attributes.get("src", "").startswith("/ui/static/") for attributes in page.named("script"))


@pytest.mark.parametrize("path", PAGES)
async def test_every_form_carries_a_word(browser, path):
    page = await browser.get(path)
    forms = re.findall(r"<form.*?</form>", page.text, re.DOTALL)
    assert all('name="csrf"' in form and 'method="post"' in form for form in forms)


@pytest.mark.parametrize("path", ["everup.css", "everup.js", "everup.svg"])
async def test_the_style_is_for_everybody_and_says_what_it_is(browse, path):
    answer = await browse().get(f"/ui/static/{path}")
    assert answer.status_code == 200 and "nosniff" in answer.headers["x-content-type-options"]
    assert (await browse().get("/ui/static/../app.py")).status_code in (303, 404)


async def test_the_front_page_leads_to_the_dashboard_and_the_api_is_as_before(browse, owner):
    browser = browse()
    answer = await browser.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/")
    assert (await owner.get("/v1/nothing")).headers["content-type"] == "application/problem+json"
    assert (await owner.get("/v1/control")).json()["environments"] == ["shop"]


async def test_one_environment_is_shown_at_once_and_several_are_listed(browser, desk):
    assert (await browser.get("/ui/")).headers["location"] == "/ui/e/shop"
    desk.pictures["other"] = desk.pictures["shop"]
    assert [one["href"] for one in Tags((await browser.get("/ui/")).text).named("a") if "/e/" in one["href"]] == [
        "/ui/e/shop",
        "/ui/e/shop",
    ]  # both pictures are of shop


async def test_an_environment_of_others_does_not_exist(browse):
    browser = browse()
    await sign_in(browser, "elsewhere")
    for path in ("/ui/e/shop", "/ui/e/shop/news", "/ui/e/shop/logs/web", "/ui/e/shop/s/web/scale"):
        assert (await browser.get(path)).status_code == 404
    page = await browser.get("/ui/")
    assert "shop" not in page.text
    assert (await browser.post("/ui/e/shop/s/web/scale", data={"csrf": word_of(page), "said": "3"})).status_code == 404


@pytest.mark.parametrize("token", LEVELS)
@pytest.mark.parametrize("label", FITS)
@pytest.mark.parametrize("act", ACTS)
async def test_each_level_may_do_what_it_may_and_no_more(browse, desk, token, label, act):
    browser = browse()
    await sign_in(browser, token)
    page = await browser.get(f"/ui/e/shop/s/{label}")
    path = f"/ui/e/shop/s/{label}/{act}"
    offered = f'href="{path}"' in page.text
    assert offered == (act in LEVELS[token] & FITS[label])
    asked = await browser.get(path)
    assert asked.status_code == (403 if act not in LEVELS[token] else 200 if act in FITS[label] else 404)
    before = list(desk.done), desk.pictures["shop"]
    sent = await browser.post(path, data={"csrf": word_of(page), "said": "3" if label == "web" else ""})
    assert sent.status_code == (303 if offered else asked.status_code)
    assert ((list(desk.done), desk.pictures["shop"]) == before) == (not offered or act == "limit")


async def test_a_form_without_its_word_or_from_another_site_does_nothing(browser, desk):
    page = await browser.get("/ui/e/shop/s/web")
    path = "/ui/e/shop/s/web/restart"
    for word in ("", "x", word_of(page)[:-1]):
        assert (await browser.post(path, data={"csrf": word})).status_code == 403
    for foreign in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},
    ):
        assert (await browser.post(path, data={"csrf": word_of(page)}, headers=foreign)).status_code == 403
    assert (await browser.post(path, data={"csrf": word_of(page), "said": "x" * 9000})).status_code == 413
    assert desk.done == []
    own = {"origin": "http://127.0.0.1:8484"}
    assert (await browser.post(path, data={"csrf": word_of(page)}, headers=own)).status_code == 303
    assert desk.done == [("restart", "web")]


async def test_what_was_done_is_said_once_and_what_was_refused_says_why(browser):
    page = await browser.get("/ui/e/shop/s/web")
    refused = await browser.post("/ui/e/shop/s/web/scale", data={"csrf": word_of(page), "said": "9"})
    assert (refused.status_code, "web may run at most 6 instances here" in refused.text) == (409, True)
    assert 'value="9"' in refused.text
    for word in ("-1", "many", "", "1e3", "٣"):
        assert (
            await browser.post("/ui/e/shop/s/web/scale", data={"csrf": word_of(page), "said": word})
        ).status_code == 409
    await browser.post("/ui/e/shop/s/web/scale", data={"csrf": word_of(page), "said": "4"})
    assert "web is to run 4 instances." in (await browser.get("/ui/e/shop/s/web")).text
    assert "web is to run 4 instances." not in (await browser.get("/ui/e/shop/s/web")).text


async def test_only_a_replica_that_is_ready_is_offered_as_the_next_primary(browser, desk):
    page = await browser.get("/ui/e/shop/s/redis01/switchover")
    assert [one["value"] for one in Tags(page.text).named("option")] == ["", "redis01-2"]
    await browser.post("/ui/e/shop/s/redis01/switchover", data={"csrf": word_of(page), "said": "redis01-2"})
    assert desk.done == [("switchover", "redis01", "redis01-2")]


async def test_a_viewer_sees_no_logs(browse):
    browser = browse()
    await sign_in(browser, "v")
    assert "/logs/" not in (await browser.get("/ui/e/shop")).text
    assert (await browser.get("/ui/e/shop/logs/web")).status_code == 403
    assert (await browser.get("/ui/e/shop/logs/web/news")).status_code == 403


async def test_nodes_stand_below_their_hosts_with_how_these_stand(browser, desk):
    spread = {"node1": Ground.DRAINED, "node2": Ground.LOST, "node3": Ground.SOUND}
    desk.pictures["shop"] = on_hosts(world(redis(), web()), **spread)
    page = Tags((await browser.get("/ui/e/shop/s/redis01")).text)
    words = [" ".join(text.split()) for text in page.texts if text.strip()]
    table = words[words.index("Nodes") :]
    heads = [(word, table[number + 1]) for number, word in enumerate(table) if word in (*spread, EVERYWHERE)]
    assert heads == [
        ("node1", "drained"),
        ("node2", "lost"),
        ("node3", "redis01-sentinel-1"),
        (EVERYWHERE, "redis01-endpoint"),
    ]
    assert len([one for one in page.named("tr") if one.get("class") == "host"]) == 4


async def test_nodes_of_one_machine_stand_below_nothing(browser):
    page = Tags((await browser.get("/ui/e/shop/s/redis01")).text)
    assert not [one for one in page.named("tr") if one.get("class") == "host"]


def hostile() -> Picture:
    """A world in which every word that others choose is a piece of a page."""
    picture = world(redis(), web())
    nodes = {
        name: replace(one, health=Health.DOWN, because=HOSTILE, state=replace(one.state, failure=HOSTILE))
        if name in ("web-1", "redis01-2")
        else one
        for name, one in picture.observed.nodes.items()
    }
    blueprints = tuple(replace(one, kind=HOSTILE) for one in picture.blueprints)
    return replace(picture, blueprints=blueprints, observed=replace(picture.observed, nodes=nodes))


async def test_what_others_wrote_is_shown_and_never_part_of_the_page(browser, desk):
    plain = {path: Tags((await browser.get(path)).text) for path in PAGES}
    desk.pictures["shop"] = hostile()
    fields = {"because": HOSTILE, "noticed_ms": HOSTILE, "error": HOSTILE, "exit_code": HOSTILE}
    desk.happened += [Event("node.exited", "shop", "2026-11-22T14:01:00Z", "web", HOSTILE, fields, 3)]
    desk.drilled.append(replace(finished(), service=HOSTILE, kind=HOSTILE))

    async def logs(environment, name, *, lines, follow):
        yield HOSTILE, HOSTILE

    desk.logs = logs
    shown = 0
    for path, before in plain.items():
        page = Tags((await browser.get(path)).text)
        for tag in ("script", "img", "iframe"):
            assert len(page.named(tag)) == len(before.named(tag)), path
        assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
        shown += HOSTILE in "".join(page.texts)
    assert shown >= 5


async def test_drills_are_drawn_and_told(browser, desk):
    assert "No drill is kept" in (await browser.get("/ui/e/shop/drills")).text
    desk.drilled += [finished(), finished(rto_s=0.05), stuck()]
    page = await browser.get("/ui/e/shop/drills")
    assert "target 2.0 s" in page.text and "no write came back" in page.text
    assert len(re.findall(r'<use class="glyph s-(?:pass|fail)" href="#shape-\w+" x="[\d.-]+" y', page.text)) == 3


async def test_what_only_a_former_primary_had_is_told(browser, desk):
    desk.pictures["shop"] = replace(desk.pictures["shop"], kept=(kept("redis01", 3, 90),))
    assert "everup lost redis01" in (await browser.get("/ui/e/shop/s/redis01")).text


async def test_a_part_of_a_page_has_no_frame_and_nothing_of_one_session(browser):
    whole, part = await browser.get("/ui/e/shop"), await browser.get("/ui/e/shop?live=1")
    assert "csrf" not in part.text and "Sign out" not in part.text
    ids = [attributes["id"] for _, attributes in Tags(part.text).tags if "data-live" in attributes]
    assert ids == [attributes["id"] for _, attributes in Tags(whole.text).tags if "data-live" in attributes] != []


async def test_a_service_or_act_that_is_not_there_says_so(browser):
    for path in ("/ui/e/shop/s/none", "/ui/e/shop/s/web/explode", "/ui/nothing"):
        assert (await browser.get(path)).status_code == 404


async def test_a_stopped_environment_says_how_to_start_it(browser, desk):
    desk.pictures["shop"] = replace(desk.pictures["shop"], stopped=True, observed=Observed(2.0))
    assert "shop is stopped. Its data is kept." in (await browser.get("/ui/e/shop")).text
