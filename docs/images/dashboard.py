"""Takes docs/images/dashboard*.png from a real run: a Galera lab, the proxy, a load, and the primary killed with -9.

.venv/bin/python docs/images/dashboard.py          (root, with the packages `make test-deps` installs)
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from selenium.webdriver import Chrome

from sqlproxy.lab.galera import GaleraLab
from tests.support.browser import browser, complaints, show_as
from tests.support.proxy import Proxy, running_proxy
from tests.support.workload import running

SHOTS = (("dashboard.png", 1200, 1500, False), ("dashboard-phone-dark.png", 390, 1500, True))


def main() -> None:
    """Run it and write the pictures beside this file."""
    directory = Path(tempfile.mkdtemp(prefix="sqlproxy-pictures-"))
    directory.chmod(0o755)
    lab = GaleraLab(directory / "lab", base_port=24200)
    servers = dict(zip(("n1", "n2", "n3"), lab.ports, strict=True))
    try:
        lab.up()
        with running_proxy(directory, servers) as proxy, browser(str(directory / "profile")) as chrome:
            _take(lab, proxy, chrome)
    finally:
        lab.down(purge=True)


def _take(lab: GaleraLab, proxy: Proxy, chrome: Chrome) -> None:
    chrome.get(f"http://127.0.0.1:{proxy.admin_port}/")
    with running(proxy.port, None, readers=4, writers=2, transactions=2):
        time.sleep(40)
        lab.kill(str(proxy.primary))
        time.sleep(20)
        for name, width, height, dark in SHOTS:
            show_as(chrome, width, height, dark=dark)
            time.sleep(3)
            chrome.save_screenshot(str(Path(__file__).with_name(name)))
            print(name, complaints(chrome))


if __name__ == "__main__":
    main()
