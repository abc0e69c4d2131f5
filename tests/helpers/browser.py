"""Pages opened in a real browser, where one is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no chromium or google-chrome on the PATH to open the page with"
)


# On a busy machine the browser's virtual time can run out before the page is drawn. It then gets
# more.
VIRTUAL_TIMES_MS = (8_000, 40_000, 200_000)


def opened(path: Path, size: str) -> str:
    """The page's HTML in a browser with a window of this size, after the page was drawn."""
    for virtual_ms in VIRTUAL_TIMES_MS:
        command = [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--use-gl=angle",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            f"--user-data-dir={path.parent / 'profile'}",
            f"--window-size={size}",
            f"--virtual-time-budget={virtual_ms}",
            "--dump-dom",
            path.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        root = re.search(r"<html[^>]*>", done.stdout)
        assert root, f"the browser gave no page: {done.stderr[-500:]}"
        assert "data-error" not in root[0], root[0]
        if 'data-drawn="yes"' in root[0]:
            return done.stdout
    raise AssertionError(
        f"the page was not drawn after {VIRTUAL_TIMES_MS[-1] / 1000:g} s of the browser's time: "
        f"{root[0]}"
    )


# A browser's window has at least 500 pixels, and a frame in it may have fewer. The frame sends its
# measures to the window.
FRAME = """<!doctype html><html><body>
<iframe src="report.html" style="border:0;width:WIDTHpx;height:2000px"></iframe><script>
onmessage = e => Object.assign(document.documentElement.dataset, e.data);
</script></body></html>"""
MEASURE = """<script>
const timer = setInterval(() => {
  const root = document.documentElement;
  if (!root.dataset.drawn && !root.dataset.error) return;
  clearInterval(timer);
  const inside = document.querySelectorAll("header *, section :not(.plot *, #space *)");
  const right = e => e.getBoundingClientRect().right;
  const over = [...inside].filter(e => right(e) > right(e.closest("header, section")) + 0.5);
  const boxes = [...document.querySelectorAll(".scroll")];
  const scrolling = boxes.filter(e => e.scrollWidth > e.clientWidth);
  const named = e => e.tagName + " " + e.textContent.slice(0, 60);
  const wide = [...over, ...scrolling].map(named).join("; ");
  const end = document.querySelector("[data-name='End [mm]']").textContent;
  parent.postMessage({...root.dataset, width: innerWidth, wide, end}, "*");
}, 50);
</script>"""


def measured(path: Path, width: int) -> dict[str, str]:
    """Measures of the page at a width of `width` pixels.

    `width` [px], `wide` (what overflows its card), `end` (its first end error).
    """
    path.write_text(path.read_text("utf-8").replace("</body>", MEASURE + "</body>"), "utf-8")
    frame = path.parent / "frame.html"
    frame.write_text(FRAME.replace("WIDTH", str(width)), "utf-8")
    return dict(
        re.findall(
            r'data-(\w+)="([^"]*)"', re.search(r"<html[^>]*>", opened(frame, "1400,2000"))[0]
        )
    )
