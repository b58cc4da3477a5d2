"""A real Chromium without a screen, driven through the system's chromedriver."""

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.ui import WebDriverWait

WAIT_S = 120.0

MISSING = (
    ""
    if shutil.which("chromium") and shutil.which("chromedriver")
    else "Chromium is missing (Debian: apt-get install chromium chromium-driver)"
)
"""Why no browser can be started here; empty where one can."""


class Browser:
    """One window."""

    def __init__(self) -> None:
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = Chrome(options=options, service=ChromeService(shutil.which("chromedriver")))
        self.driver.set_page_load_timeout(WAIT_S)
        self.resize()

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()

    def resize(self, width: int = 1280, height: int = 900) -> None:
        """Show a page as on a screen of that size; below 500 pixels as on a phone."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def darken(self, dark: bool) -> None:
        """Prefer dark pages, or light ones."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def forbid_scripts(self, forbidden: bool) -> None:
        """Run no script of any page loaded from now on, or do again."""
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": forbidden})

    def ask(self, script: str) -> Any:
        """What a piece of JavaScript says."""
        return self.driver.execute_script(script)

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.ask("return document.body.innerText"))

    def wait(self, met: Callable[[], Any], every_s: float = 0.05) -> Any:
        """Wait until it holds; returns what it said."""
        return WebDriverWait(self.driver, WAIT_S, every_s).until(lambda _: met())

    def photograph(self, file: Path) -> None:
        """Keep a picture of the whole page."""
        width, height = self.ask("return [window.innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        asked = {"captureBeyondViewport": True, "clip": clip}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", asked)["data"]))

    def complaints(self) -> list[str]:
        """What the browser found wrong with the pages since the last time: refused scripts, missing files."""
        return [str(one["message"]) for one in self.driver.get_log("browser") if one["level"] == "SEVERE"]
