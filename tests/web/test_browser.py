"""The dashboard in a real Chromium over real servers: what somebody sees while a primary dies. Keeps pictures of it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser import MISSING, Browser
from tests.everup_cli import Everup

pytestmark = [pytest.mark.faults, pytest.mark.system, pytest.mark.skipif(bool(MISSING), reason=MISSING)]

PICTURES = Path(__file__).parents[2] / "build" / "dashboard"

HOSTILE = "<img src=x onerror=document.title=1337>"

SPEC = f"""\
environment: shop
drills: allowed
services:
  redis01: {{kind: redis, ha: true, rto: 5s}}
  web:
    kind: app
    run: python -u -c "import sys, http.server as h; print('{HOSTILE}'); h.test(h.SimpleHTTPRequestHandler,
      port=int(sys.argv[1]), bind=sys.argv[2])" $PORT $HOST
    scale: 2
    limit: 4
    needs: [redis01]
"""


@pytest.fixture(scope="module")
def everup() -> Iterator[Everup]:
    with Everup(SPEC) as everup:
        everup("up")
        yield everup


@pytest.fixture(scope="module")
def browser(everup: Everup) -> Iterator[Browser]:
    """Signed in by an address that works once."""
    with Browser() as browser:
        browser.driver.get(everup.json("dashboard")["url"])
        browser.wait(lambda: browser.driver.current_url.endswith("/ui/e/shop"))
        yield browser


@pytest.fixture(autouse=True)
def shop(browser: Browser) -> None:
    """Every test begins on the page of the environment, while that is healthy."""
    browser.driver.get(address(browser, "/ui/e/shop"))
    browser.wait(lambda: "All services are healthy" in browser.text())


def address(browser: Browser, path: str) -> str:
    return "/".join(browser.driver.current_url.split("/")[:3]) + path


def state(browser: Browser, label: str) -> str:
    return str(browser.ask(f"return document.querySelector('.wide [data-service={label}]').dataset.state"))


def primary(browser: Browser) -> str:
    """What stands in the box of the primary of redis01, if there is one."""
    box = "document.querySelector('.wide [data-service=redis01] .box.primary')"
    return str(browser.ask(f"return {box} ? {box}.parentNode.textContent : ''"))


def test_a_healthy_environment_is_seen_at_a_glance(browser: Browser):
    assert browser.driver.find_element(By.TAG_NAME, "h1").text == "All services are healthy; any one node can be lost."
    browser.wait(lambda: browser.driver.find_element(By.ID, "live").text == "live")
    assert state(browser, "redis01") == state(browser, "web") == "healthy"
    browser.photograph(PICTURES / "healthy.png")
    browser.darken(True)
    browser.photograph(PICTURES / "dark.png")
    browser.darken(False)
    assert browser.complaints() == []


def test_it_fits_a_phone(browser: Browser):
    browser.resize(390, 844)
    try:
        for path in ("", "/s/redis01", "/s/web/scale", "/incidents", "/drills", "/logs/web"):
            browser.driver.get(address(browser, f"/ui/e/shop{path}"))
            assert browser.ask("return document.documentElement.scrollWidth") <= 390, path
            browser.photograph(PICTURES / f"phone{path.replace('/', '-')}.png")
    finally:
        browser.resize()


def test_a_keyboard_is_enough(browser: Browser):
    def focused() -> str:
        return str(browser.ask("return document.activeElement.textContent.trim()"))

    def press(*keys: str) -> None:
        browser.driver.switch_to.active_element.send_keys(*keys)

    press(Keys.TAB)
    assert focused() == "Skip to the content"
    seen = []
    while focused() != "web" and len(seen) < 80:
        press(Keys.TAB)
        seen.append(focused())
    assert {"Services", "Incidents", "Drills", "Sign out"} <= set(seen)
    press(Keys.ENTER)
    browser.wait(lambda: browser.driver.current_url.endswith("/s/web"))
    browser.wait(lambda: press(Keys.TAB) or focused() == "Scale", every_s=0)
    press(Keys.ENTER)
    browser.wait(lambda: browser.driver.current_url.endswith("/scale"))
    browser.wait(lambda: press(Keys.TAB) or browser.ask("return document.activeElement.name") == "said", every_s=0)
    press(Keys.CONTROL, "a")
    press("3", Keys.ENTER)
    browser.wait(lambda: "web is to run 3 instances." in browser.text())
    browser.wait(lambda: "3 of 4 allowed" in browser.text())


def test_a_primary_that_dies_is_seen_at_once(browser: Browser, everup: Everup):
    was = everup.primary("redis01")["id"]
    browser.wait(lambda: browser.driver.find_element(By.ID, "live").text == "live")
    begin_s = everup.inject(was, "node-loss", for_s=8)
    browser.wait(lambda: state(browser, "redis01") != "healthy", every_s=0.01)
    seen_s = time.monotonic() - begin_s
    browser.wait(lambda: "redis01-1" in browser.text())
    browser.photograph(PICTURES / "failover.png")
    browser.wait(lambda: primary(browser) and was not in primary(browser))
    everup.wait_healthy()
    browser.wait(lambda: "All services are healthy" in browser.text())
    last = browser.driver.find_element(By.CSS_SELECTOR, ".head .last").text
    assert f"{was} (primary)" in last and "took over" in last and "redundant again" in last
    (PICTURES / "figures.json").write_text(json.dumps({"killed_to_seen_s": round(seen_s, 3)}))


def test_a_drill_is_drawn_against_its_target(browser: Browser, everup: Everup):
    everup("drill", "redis01", "--fault", "switchover", "--runs", "1", codes=(0, 1, 3))  # whatever it finds is drawn
    browser.driver.find_element(By.LINK_TEXT, "Drills").click()
    browser.wait(lambda: "target 5.0 s" in browser.text())
    assert browser.ask("return document.querySelectorAll('.plot use').length") >= 1
    browser.photograph(PICTURES / "drill.png")
    assert browser.complaints() == []


def test_what_an_app_prints_is_shown_as_it_is(browser: Browser):
    browser.driver.get(address(browser, "/ui/e/shop/logs/web-1"))
    browser.wait(lambda: HOSTILE in browser.text())
    browser.wait(lambda: browser.driver.find_element(By.ID, "live").text == "live")
    assert HOSTILE in browser.text() and browser.driver.title != "1337"
    assert browser.ask("return document.querySelectorAll('main img').length") == 0


def test_without_scripts_everything_is_there_but_live(browser: Browser):
    browser.forbid_scripts(True)
    try:
        browser.driver.get(address(browser, "/ui/e/shop/s/web/restart"))
        assert browser.driver.find_element(By.TAG_NAME, "h1").text == "Restart: web"
        browser.driver.find_element(By.CSS_SELECTOR, "form.ask button").click()
        notice = browser.wait(lambda: browser.driver.find_elements(By.CSS_SELECTOR, ".notice"))
        assert notice[0].text == "web is being restarted."
        assert not browser.driver.find_element(By.ID, "live").is_displayed()
    finally:
        browser.forbid_scripts(False)


def test_signing_out_closes_every_page(browser: Browser, everup: Everup):
    browser.driver.find_element(By.CSS_SELECTOR, ".who button").click()
    browser.wait(lambda: "Sign in" in browser.driver.title)
    browser.driver.get(address(browser, "/ui/e/shop"))
    assert "Sign in" in browser.driver.title
    browser.photograph(PICTURES / "sign-in.png")
    browser.driver.get(everup.json("dashboard")["url"])
    browser.wait(lambda: browser.driver.current_url.endswith("/ui/e/shop"))
