"""The README's picture: what the live page shows for some seconds, as an animated WebP.

    symgnn serve cmu &
    python web/picture.py http://127.0.0.1:8000 docs/live.webp

The page runs until it has enough, is paused, and then photographed answer by answer: every picture is there, however slow the
machine draws. Needs playwright and a Chromium.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
QUALITIES = (82, 72, 60, 45, 30)
"""The first that makes a picture that is small enough is taken."""


def main() -> None:
    """The command."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("url", help="address of the page")
    ask.add_argument("out", type=Path, help="the picture, a .webp")
    ask.add_argument("--seconds", type=float, default=6.0, help="how long it plays")
    ask.add_argument("--skip", type=float, default=4.0, help="seconds before them, until the charts have something to show")
    ask.add_argument("--rate", type=float, default=12.5, help="pictures a second")
    ask.add_argument("--width", type=int, default=640, help="pixels of the picture")
    ask.add_argument("--view", default="880x495", help="pixels of the page that is photographed")
    ask.add_argument("--most", type=int, default=900_000, help="bytes at most")
    ask.add_argument("--light", action="store_true", help="in light colours")
    ask.add_argument("--browser", default="/usr/bin/chromium")
    given = ask.parse_args()
    if given.out.suffix != ".webp":
        ask.error(f"{given.out} does not end in .webp")
    width, height = (int(side) for side in given.view.split("x"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.browser, args=ARGUMENTS)
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="light" if given.light else "dark",
            reduced_motion="reduce",
        )
        page.goto(given.url)
        pictures = photograph(page, given.skip, given.seconds, given.rate)
        browser.close()
    small = [
        picture.resize((given.width, round(given.width * height / width)), Image.Resampling.LANCZOS) for picture in pictures
    ]
    content = smallest(small, 1000 / given.rate, given.most)
    given.out.write_bytes(content)
    print(f"{given.out}: {len(small)} pictures, {len(content)} bytes")


def photograph(page: Page, skip: float, seconds: float, rate: float) -> list[Image.Image]:
    """Pictures of a page, evenly spaced in the time of what it shows."""
    wait_until(page, lambda state: state["newest"] - state["oldest"] > skip + seconds, 20 * (skip + seconds) + 60)
    page.keyboard.press("Space")
    start = page.evaluate("symgnn.state().newest") - seconds
    # What says that it is paused, and the settings, belong to the photographer.
    page.evaluate("document.querySelector('.transport').hidden = true; document.getElementById('options').open = false")
    pictures = []
    for number in range(round(seconds * rate)):
        behind = page.evaluate("at => symgnn.state().newest - at", start + number / rate)
        page.evaluate(
            """async (behind) => {
                const scrub = document.getElementById("scrub"), frame = () => new Promise(requestAnimationFrame);
                scrub.value = -behind;
                scrub.dispatchEvent(new Event("input"));
                const gl = document.getElementById("view").getContext("webgl2");
                for (let k = 0; k < 3; k++) await frame();
                gl?.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
                await frame();
            }""",
            behind,
        )
        with Image.open(io.BytesIO(page.screenshot())) as image:
            pictures.append(image.convert("RGB"))
    return pictures


def wait_until(page: Page, enough: Callable[[dict[str, Any]], bool], seconds: float) -> None:
    """Until the page's state is as wanted; ends the command where that takes too long."""
    state = None
    for _ in range(round(seconds / 0.1)):
        if enough(state := page.evaluate("symgnn.state()")):
            return
        page.wait_for_timeout(100)
    raise SystemExit(f"the page has not shown enough within {seconds:.0f} s: {state}")


def smallest(pictures: list[Image.Image], ms: float, most: int) -> bytes:
    """The best quality that fits."""
    content = io.BytesIO()
    for quality in QUALITIES:
        content = io.BytesIO()
        pictures[0].save(
            content, "WEBP", save_all=True, append_images=pictures[1:], duration=round(ms), loop=0, quality=quality, method=4
        )
        if content.tell() <= most:
            return content.getvalue()
    raise SystemExit(
        f"{content.tell()} bytes at the lowest quality, expected at most {most}: fewer --seconds, --rate or --width"
    )


if __name__ == "__main__":
    main()
