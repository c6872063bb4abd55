"""A headless Chromium driven through its DevTools protocol over a websocket: enough to look, point and click."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from tests.needs import missing

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 120.0  # seconds: the machine may be busy


def find() -> str | None:
    path = os.environ.get("CHROMIUM")
    return path or next((path for name in NAMES if (path := shutil.which(name))), None)


def needed() -> str:
    """The browser; without one, `missing` says what was not tested."""
    path = find()
    if path is None:
        missing("report.html in a browser: install chromium (apt-get install chromium) or set CHROMIUM")
    return path


@contextlib.contextmanager
def browser(width: int = 1240, height: int = 900, network: bool = False) -> Iterator[str]:
    """A running Chromium, by the address of its DevTools."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        offline = [] if network else ["--host-resolver-rules=MAP * ~NOTFOUND"]
        command = [
            needed(),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            f"--window-size={width},{height}",
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",
            *offline,
            "about:blank",
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            port_file, deadline = Path(profile, "DevToolsActivePort"), time.monotonic() + PATIENCE
            while not port_file.exists() or "\n" not in port_file.read_text():
                assert process.poll() is None, "chromium ended at once"
                assert time.monotonic() < deadline, "chromium did not start"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Tab:
    """One page. `errors` holds everything that went to the console as an error, exceptions included."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0
        self.errors: list[str] = []
        self.requests: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = json.loads((await self._socket.receive(timeout=PATIENCE)).data)
            self._note(message)
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    def _note(self, message: dict[str, Any]) -> None:
        details = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(details["exceptionDetails"]))
        elif message.get("method") == "Runtime.consoleAPICalled" and details["type"] in ("error", "warning"):
            self.errors.append(str(details["args"]))
        elif message.get("method") == "Log.entryAdded" and details["entry"]["level"] in ("error", "warning"):
            self.errors.append(str(details["entry"]))
        elif message.get("method") == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])

    async def open(self, url: str, ready: str = "document.readyState === 'complete'") -> None:
        for domain in ("Runtime", "Log", "Page", "Network"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)
        await self.until(ready)

    async def value(self, expression: str) -> Any:
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await self.value(expression):
            assert time.monotonic() < deadline, f"never came true: {expression}; console: {self.errors}"
            await asyncio.sleep(0.1)

    async def mouse(self, x: float, y: float, click: bool = False) -> None:
        await self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def picture(self, path: Path, clip: dict[str, float] | None = None) -> None:
        more = {"clip": clip | {"scale": 1}, "captureBeyondViewport": True} if clip else {}
        result = await self.call("Page.captureScreenshot", format="png", **more)
        path.write_bytes(base64.b64decode(result["data"]))


def in_tab(work: Callable[[Tab], Awaitable[None]], **options: Any) -> None:
    """Does the work in a fresh tab of a fresh browser."""
    import aiohttp

    async def inside(address: str) -> None:
        async with aiohttp.ClientSession() as session:
            async with session.put(f"{address}/json/new?about:blank") as answer:
                target = await answer.json()
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                await work(Tab(socket))

    with browser(**options) as address:
        asyncio.run(inside(address))
