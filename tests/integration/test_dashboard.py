"""The dashboard in a real browser, in front of a real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from sqlproxy.lab.galera import GaleraLab
from tests.support.browser import browser, complaints, show_as
from tests.support.cluster import servers_of, wait_settled
from tests.support.mysqlclient import connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.waiting import wait_until

PATIENCE = 20.0


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(str(tmp_path_factory.mktemp("profile"))) as chrome:
        yield chrome


@pytest.fixture
def proxy(healthy_galera: GaleraLab, tmp_path: Path) -> Iterator[Proxy]:
    with running_proxy(tmp_path, servers_of(healthy_galera)) as proxy:
        wait_settled(proxy)
        yield proxy


@pytest.fixture
def page(chrome: Chrome, proxy: Proxy) -> Iterator[Chrome]:
    """The page of the proxy, filled, on a desktop; whatever a test does, the browser has nothing to complain about."""
    show_as(chrome, 1200, 900)
    chrome.get(f"http://127.0.0.1:{proxy.admin_port}/")
    wait_until(lambda: len(cards(chrome)) == 3, PATIENCE, "the page shows three servers")
    yield chrome
    assert complaints(chrome) == []
    chrome.get("about:blank")


def cards(page: Chrome) -> list[WebElement]:
    return page.find_elements(By.CSS_SELECTOR, "#servers .card")


def text(page: Chrome, selector: str) -> str:
    return str(page.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def charts(page: Chrome) -> str:
    """The captions of the charts that are shown."""
    captions = "[...document.querySelectorAll('.chart')].filter(c => !c.hidden).map(c => c.textContent).join()"
    return str(page.execute_script(f"return {captions}"))


def press(page: Chrome, label: str) -> None:
    """A button by what a screen reader calls it, by keyboard."""
    press_found(page, f'button[aria-label="{label}"]')


def press_found(page: Chrome, selector: str) -> None:
    """A button by keyboard; each asks before it acts."""
    page.find_element(By.CSS_SELECTOR, selector).send_keys(Keys.ENTER)
    wait_until(lambda: page.find_element(By.ID, "confirm").is_displayed(), PATIENCE, "the page asks again")


def test_it_shows_the_topology_the_servers_and_what_changed(page: Chrome, proxy: Proxy) -> None:
    primary = proxy.primary
    assert primary is not None
    assert f"primary {primary}" in text(page, "#summary")
    assert f"{primary} is primary: synced" in text(page, "#picture svg > title")
    assert "this machine may steer it" in text(page, "#who")
    wait_until(lambda: f"{primary}" in text(page, "#events"), PATIENCE, "the events name the primary")


def test_statements_are_seen_in_figures_and_plots(page: Chrome, proxy: Proxy) -> None:
    with connected(proxy.port) as connection:
        rows(connection, "SELECT 1")
        wait_until(lambda: "1 client" in text(page, "#summary"), PATIENCE, "the client is counted")
        wait_until(lambda: "@127.0.0.1" in text(page, "#sessions"), PATIENCE, "the session is listed")
    wait_until(lambda: "SELECT ?" in text(page, "#digests"), PATIENCE, "its statement is among the digests")
    wait_until(lambda: page.find_elements(By.CSS_SELECTOR, ".chart canvas"), PATIENCE, "the charts are drawn")
    wait_until(lambda: "Receive queue" in charts(page), PATIENCE, "what Galera tells is drawn")
    assert "Replication lag" not in charts(page)  # a cluster has none to show


def test_a_server_is_drained_by_keyboard_after_a_question(page: Chrome, proxy: Proxy) -> None:
    name = next(name for name, row in proxy.servers().items() if row["role"] == "replica")
    press(page, f"Drain: {name}")
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait_until(lambda: not page.find_element(By.ID, "confirm").is_displayed(), PATIENCE, "the question is gone")
    assert proxy.servers()[name]["state"] == "active"
    press(page, f"Drain: {name}")
    page.find_element(By.ID, "confirm-yes").send_keys(Keys.ENTER)
    wait_until(lambda: proxy.servers()[name]["state"] == "drain", PATIENCE, "the server is drained")
    wait_until(lambda: f"{name} is being drained" in text(page, "#done"), PATIENCE, "the page says so")
    press(page, f"Activate: {name}")
    page.find_element(By.ID, "confirm-yes").send_keys(Keys.ENTER)
    wait_until(lambda: proxy.servers()[name]["state"] == "active", PATIENCE, "the server is active")


def test_a_switchover_and_the_end_of_a_session(page: Chrome, proxy: Proxy) -> None:
    name = next(name for name, row in proxy.servers().items() if row["role"] == "replica")
    press(page, f"Make primary: {name}")
    page.find_element(By.ID, "confirm-yes").click()
    wait_until(lambda: proxy.primary == name, PATIENCE, "another server is the primary")
    wait_until(lambda: f"primary {name}" in text(page, "#summary"), PATIENCE, "the page follows")
    with connected(proxy.port):
        wait_until(lambda: page.find_elements(By.CSS_SELECTOR, "#sessions button"), PATIENCE, "a session is listed")
        press_found(page, "#sessions button")
        page.find_element(By.ID, "confirm-yes").click()
        wait_until(lambda: proxy.get("/v1/sessions") == [], PATIENCE, "the session is over")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_on_a_phone_nothing_is_cut_off(page: Chrome, dark: bool) -> None:
    show_as(page, 390, 800, dark=dark)
    wait_until(lambda: page.execute_script("return innerWidth") == 390, PATIENCE, "the page is as wide as a phone")
    wait_until(lambda: page.find_elements(By.CSS_SELECTOR, ".chart canvas"), PATIENCE, "the charts are drawn")
    wider = (
        "return [...document.querySelectorAll('main, header, .card, .chart, #picture')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"
    )
    wait_until(lambda: page.execute_script(wider) == 0, PATIENCE, "everything fits")
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(15, 18, 22)" if dark else "rgb(245, 246, 248)")


def test_a_proxy_that_is_gone_is_said_to_be(page: Chrome, proxy: Proxy) -> None:
    proxy.stop()
    wait_until(lambda: "does not answer" in text(page, "#problem"), PATIENCE, "the page notices")
    complaints(page)  # of the lost connection, rightly
