"""The live page in a real browser, fed by a server that says only what the test wants."""

import hashlib
import io
import math
import queue
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from page_server import CLASSES, WEB, PageServer, Pose, drawing, model, page_server, tick, walker

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = Path("/usr/bin/chromium")
SOURCES = Path(__file__).parents[1] / "web"
needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs a browser at {CHROMIUM}")
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]

Page = Any
"""playwright.sync_api.Page, which need not be there."""
Open = Callable[..., Page]


def test_the_bundle_is_built_from_these_sources():
    if not SOURCES.is_dir():
        pytest.skip("needs the page's sources, which only the repository has")
    names = ["build.mjs", "package-lock.json", "package.json", *(f"src/{path.name}" for path in (SOURCES / "src").iterdir())]
    sources = hashlib.sha256()
    for name in sorted(names):
        sources.update(name.encode() + b"\0" + (SOURCES / name).read_bytes() + b"\0")
    for built in ("app.js", "app.css"):
        first = (WEB / built).read_text(encoding="utf-8").partition("\n")[0]
        assert f"sha256:{sources.hexdigest()} " in first, f"{built} was built from other sources: make web"
    assert (WEB / "index.html").read_bytes() == (SOURCES / "src" / "index.html").read_bytes(), "make web"


def test_the_bundle_is_small_licensed_and_asks_nobody_outside():
    assert (WEB / "app.js").stat().st_size < 1_000_000
    assert "three.js" in (WEB / "NOTICE.txt").read_text() and "MIT License" in (WEB / "NOTICE.txt").read_text(encoding="utf-8")
    assert "NOTICE.txt" in (WEB / "app.js").read_text(encoding="utf-8")[:400]
    for name in ("index.html", "app.css"):
        text = (WEB / name).read_text(encoding="utf-8")
        outside = [found for found in re.findall(r"(?:https?:)?//[\w.-]+", text) if "www.w3.org" not in found]
        assert not outside, f"{name} asks {outside}"
    assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son\w+=", (WEB / "index.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def server() -> Iterator[PageServer]:
    with page_server() as running:
        yield running


@pytest.fixture
def open_page(browser: Any, server: PageServer) -> Iterator[Open]:
    """Opens the page in a context of its own; whatever the browser complains about fails the test, save what is expected."""
    contexts, complaints, expected = [], [], []

    def opened(query: str = "", *, complains: str = "", before: str = "", width: int = 900, height: int = 560, **settings: Any):
        context = browser.new_context(
            **({"reduced_motion": "reduce", "viewport": {"width": width, "height": height}} | settings)
        )
        contexts.append(context)
        expected.append(complains)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if before:
            page.add_init_script(before)
        page.goto(server.url + query)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [said for said in complaints if not any(known and known in said for known in expected)] == []


def wait(page: Page, condition: str) -> None:
    """Until a condition on the page's state ``s`` holds.

    Playwright's own ``wait_for_function`` evaluates text inside the page, which the page's policy forbids.
    """
    page.evaluate(
        """() => new Promise((done, fail) => {
            const end = performance.now() + 15000;
            const look = () => {
                const s = symgnn.state();
                if (CONDITION) done();
                else if (performance.now() > end) fail(new Error("not within 15 s: " + CONDITION_TEXT + JSON.stringify(s)));
                else setTimeout(look, 10);
            };
            look();
        })""".replace("CONDITION_TEXT", repr(condition + " in ")).replace("CONDITION", condition)
    )


def state(page: Page) -> dict[str, Any]:
    return page.evaluate("symgnn.state()")


def show(page: Page, server: PageServer, *ticks: dict[str, Any]) -> None:
    """Sends ticks, and waits until the last one is drawn."""
    server.send(*ticks)
    wait(page, f"s.time === {ticks[-1]['time']!r} && s.received > 0")


def connected(page: Page) -> Page:
    wait(page, "s.connected")
    return page


def picture(page: Page) -> np.ndarray:
    """What is drawn, without the words over it. A busy machine draws later than the page says: it is waited for."""
    page.evaluate(
        """async () => {
            const frame = () => new Promise(requestAnimationFrame);
            for (const words of ["said", "ramp"]) document.getElementById(words).style.visibility = "hidden";
            for (let k = 0; k < 2; k++) await frame();
            const gl = document.getElementById("view").getContext("webgl2");
            gl?.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
            await frame();
        }"""
    )
    with Image.open(io.BytesIO(page.locator("#view").screenshot())) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    page.evaluate("for (const words of ['said', 'ramp']) document.getElementById(words).style.visibility = ''")
    return pixels


def changed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one - other).max(axis=2) > 10


def left_limbs(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(pixels, 2, 0)
    return (blue > red + 70) & (blue > green + 40)


def right_limbs(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(pixels, 2, 0)
    return (green > red + 60) & (green > blue + 8)


def middle_of(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    assert len(rows) > 30, "hardly anything is drawn"
    return float(columns.mean()), float(rows.mean())


def bare(page: Page) -> Page:
    """Only the body: no ghosts, no arcs, and the camera stays where it is."""
    for name in ("ghosts", "edges", "follow"):
        page.locator(f"#{name}").click()
    return page


@needs_chromium
def test_draws_what_the_server_sends(open_page: Open, server: PageServer):
    page = connected(open_page(reduced_motion="no-preference"))
    empty = picture(page)
    show(page, server, tick(0.0, truth="walking"))
    one = picture(page)
    assert changed(one, empty).sum() > 5000
    show(page, server, *(tick(k / 25) for k in range(1, 6)), tick(0.25, label=None))
    assert changed(picture(page), one).sum() > 1000
    now = state(page)
    assert (now["received"], now["time"], now["source"], now["renderer"]) == (7, 0.25, "playback: walking", "webgl")
    assert 2 <= now["drawn"] <= 7
    page.get_by_text("unsure", exact=True).wait_for()
    assert page.locator("#latency").inner_text() == "12.3 ms"
    assert page.locator("#source").inner_text() == "playback of walking"


@needs_chromium
def test_words_follow_the_answers(open_page: Open, server: PageServer):
    page = connected(open_page())
    show(page, server, tick(0.0, truth="running", label="walking"))
    page.get_by_text("✗ labelled running").wait_for()
    assert page.locator("#sure").inner_text() == "70 %"  # tick: 0.7 + 0.2 sin 0
    assert page.locator("#classes li.best .name").inner_text() == "walking"
    assert page.locator("#classes li").first.inner_text().split("\n")[-1] == "70 %"
    probabilities = dict.fromkeys(CLASSES, 0.01) | {"kicking": 0.93}
    show(page, server, tick(0.04, truth="kicking", label="kicking", probabilities=probabilities, dropped=7, rate=24.6))
    page.get_by_text("✓ labelled kicking").wait_for()
    assert page.locator("#classes li.best .name").inner_text() == "kicking"
    assert (page.locator("#dropped").inner_text(), page.locator("#rate").inner_text()) == ("7", "24.6 /s")
    server.send({"type": "source", "source": "stream", "name": "s3", "session": "s3"})
    page.get_by_text("session s3").wait_for()


@needs_chromium
def test_a_body_is_where_its_points_are(open_page: Open, server: PageServer):
    """From the front: what goes to its left goes to the viewer's right, and its left limbs are on that side."""
    page = bare(connected(open_page()))
    show(page, server, tick(0.0))
    start, _ = middle_of(left_limbs(picture(page)))
    assert start > middle_of(right_limbs(picture(page)))[0] + 10
    show(page, server, tick(0.04, away=0.3))
    assert middle_of(left_limbs(picture(page)))[0] > start + 40
    show(page, server, tick(0.08, away=-0.3))
    assert middle_of(left_limbs(picture(page)))[0] < start - 40
    page.locator("#follow").click()
    page.get_by_role("button", name="Follow").blur()
    wait(page, "s.frames > 0")
    followed = middle_of(left_limbs(picture(page)))[0]
    assert abs(followed - start) < 6


UPS: dict[str, Callable[[float, float, float], list[float]]] = {
    "-y": lambda x, y, z: [x, -y, -z],
    "z": lambda x, y, z: [x, -z, y],
    "-z": lambda x, y, z: [x, z, -y],
    "x": lambda x, y, z: [y, -x, z],
    "-x": lambda x, y, z: [-y, x, z],
}
"""A point of a y-up body in a space turned (never mirrored) so that another axis is up."""


@needs_chromium
def test_any_axis_up_and_any_unit_give_one_picture(open_page: Open, server: PageServer):
    page = bare(connected(open_page()))
    pose = walker(0.15)
    show(page, server, tick(0.5, pose=pose, ghosts=[]))
    expected = picture(page)
    for number, (up, turn) in enumerate(UPS.items()):
        unit = (39.37, 1000.0, 0.01, 17.8, 1.0)[number]
        place = number * unit
        turned: Pose = [[value * unit + place for value in turn(*point)] for point in pose if point]
        server.send({**server.hello, "model": model(drawing=drawing(up))})
        show(page, server, tick(float(number + 1), pose=turned, ghosts=[]))
        # The grid stays where it is in space, so its lines lie elsewhere under a body that stands elsewhere.
        for limbs in (left_limbs, right_limbs):
            assert (limbs(picture(page)) != limbs(expected)).sum() < 30, up
        assert left_limbs(expected).sum() > 800


@needs_chromium
def test_an_image_is_seen_from_the_front_with_y_down(open_page: Open, server: PageServer):
    server.hello["model"] = model(drawing=drawing("-y", flat=True), space="xyc")
    page = bare(connected(open_page()))
    pose: Pose = [[300 + 200 * x, 400 - 200 * y, 0.0] for x, y, _ in (point for point in walker(0.0) if point)]
    show(page, server, tick(0.0, pose=pose))
    pixels = picture(page)
    left, right = middle_of(left_limbs(pixels)), middle_of(right_limbs(pixels))
    assert left[0] > right[0] + 20
    shoulder = pose[12]
    assert shoulder is not None
    raised = [*pose[:13], [shoulder[0] + 10, shoulder[1] - 58, 0.0], [shoulder[0] + 10, shoulder[1] - 112, 0.0], *pose[15:]]
    show(page, server, tick(0.04, pose=raised))  # the left arm goes up in the image: y falls
    before = picture(page)
    top = [int(np.nonzero(left_limbs(image).any(axis=1))[0].min()) for image in (pixels, before)]
    assert top[1] < top[0] - 40
    page.keyboard.press("a")
    assert changed(picture(page), before).sum() < 50, "an image cannot be walked around"


@needs_chromium
def test_missing_points_are_not_drawn(open_page: Open, server: PageServer):
    page = bare(connected(open_page()))
    show(page, server, tick(0.0))
    whole = left_limbs(picture(page)).sum()
    pose = walker(0.0)
    pose[2] = pose[3] = pose[4] = None  # the left leg from the knee down
    show(page, server, tick(0.04, pose=pose))
    assert left_limbs(picture(page)).sum() < 0.85 * whole
    show(page, server, tick(0.08, pose=[None] * len(pose)))
    assert left_limbs(picture(page)).sum() == 0
    show(page, server, tick(0.12))
    assert abs(left_limbs(picture(page)).sum() - whole) < 0.03 * whole


@needs_chromium
def test_ghosts_reach_as_far_as_the_slider_says(open_page: Open, server: PageServer):
    page = connected(open_page())
    assert server.heard.get(timeout=10) == {"type": "horizon", "frames": 25}
    page.locator("#follow").click()
    page.locator("#edges").click()
    going = [walker(0.0, away=0.03 * (k + 1)) for k in range(25)]  # to the viewer's right
    show(page, server, tick(0.0, ghosts=going))
    far = picture(page)
    page.locator("#horizon").focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    wait(page, "s.horizon === 5")
    heard = [server.heard.get(timeout=10)["frames"] for _ in range(20)]
    assert heard == list(range(24, 4, -1))
    page.get_by_text("5 frames, 200 ms").wait_for()
    assert page.locator("#ramp-end").inner_text() == "+200 ms"
    near = picture(page)
    page.keyboard.press("g")
    page.locator("#ramp").wait_for(state="hidden")
    without = picture(page)
    reach = [int(np.nonzero(changed(image, without).any(axis=0))[0].max()) for image in (near, far)]
    body = int(np.nonzero(left_limbs(without).any(axis=0))[0].max())
    # 0.75 m against 0.15 m of somebody 1.7 m tall, of whom half the picture's height is more than 150 pixels.
    assert body < reach[0] < reach[1] - 50


@needs_chromium
def test_relations_are_drawn_by_their_weight(open_page: Open, server: PageServer):
    page = connected(open_page())
    page.locator("#ghosts").click()
    show(page, server, tick(0.0, edges=[]))
    plain = picture(page)
    drawn = []
    for number, edges in enumerate(([[14, 8, 0.9]], [[14, 8, 0.9], [17, 4, 0.2]], [[14, 8, 0.9], [17, 4, 0.9]])):
        show(page, server, tick(float(number + 1), pose=walker(0.0), edges=edges))
        drawn.append(picture(page))
    one, weak, strong = (int(np.abs(image - plain).sum()) for image in drawn)
    assert one > 20_000
    assert 0 < weak - one < 0.6 * (strong - one)
    page.keyboard.press("e")
    page.locator('#edges[aria-pressed="false"]').wait_for()
    assert changed(picture(page), plain).sum() < 30


@needs_chromium
def test_pause_step_scrub_and_speed(open_page: Open, server: PageServer):
    page = connected(open_page())
    times = [k / 25 for k in range(45)]
    show(page, server, *(tick(time, ghosts=[]) for time in times))
    page.keyboard.press("Space")
    wait(page, "s.paused")
    before = picture(page)
    server.send(tick(1.8, ghosts=[]), tick(1.84, ghosts=[]))
    wait(page, "s.received === 47")
    assert state(page)["time"] == 1.76 and not changed(picture(page), before).any()
    for key, time in (("ArrowLeft", 1.72), ("ArrowLeft", 1.68), ("ArrowRight", 1.72), ("Home", 0.0), ("ArrowLeft", 0.0)):
        page.keyboard.press(key)
        wait(page, f"Math.abs(s.time - {time}) < 1e-9")
    assert changed(picture(page), before).sum() > 300
    page.locator("#scrub").fill("-1.5")
    wait(page, "Math.abs(s.behind - 1.5) < 0.02 && s.paused && s.time > 0")
    assert state(page)["time"] == pytest.approx(0.32, abs=0.021)  # 1.5 s before 1.84, the tick at or before it
    page.get_by_text("−1.5 s").wait_for()
    page.keyboard.press("Space")
    wait(page, "!s.paused && s.time > 0.7")
    wait(page, "s.live")  # nothing more comes: it runs up to the newest
    page.locator("#speed").select_option("0.25")
    server.send(*(tick(1.88 + k / 25, ghosts=[]) for k in range(50)))
    wait(page, "s.behind > 1")
    page.keyboard.press(".")
    wait(page, "s.speed === 0.5")
    page.locator("#speed").select_option("2")
    wait(page, "s.live && s.behind === 0")
    page.keyboard.press("Home")
    page.locator("#live").click()
    wait(page, "s.live && !s.paused && s.speed === 1 && Math.abs(s.time - 3.84) < 1e-9")


@needs_chromium
def test_the_camera_turns_by_keys_and_pointer_and_goes_back(open_page: Open, server: PageServer):
    page = connected(open_page())
    show(page, server, tick(0.0))
    start = picture(page)
    for keys in (["a"] * 5, ["Shift+ArrowUp"] * 4, ["+"] * 5):
        for key in keys:
            page.keyboard.press(key)
        assert changed(picture(page), start).sum() > 3000, keys
        page.keyboard.press("r")
        assert changed(picture(page), start).sum() < 30, keys
    box = page.locator("#view").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 320, box["y"] + 180, steps=4)
    page.mouse.up()
    assert changed(picture(page), start).sum() > 3000


@needs_chromium
def test_goes_on_after_the_server_was_away(open_page: Open, server: PageServer):
    page = connected(open_page(complains="WebSocket connection"))
    show(page, server, *(tick(k / 25) for k in range(10)))
    before = state(page)
    server.stop()
    for pause in (1, 2):  # it grows
        page.get_by_text(f"connection lost; trying again in {pause} s").first.wait_for()
    wait(page, "!s.connected")
    page.keyboard.press("ArrowLeft")
    wait(page, "s.paused && s.time < 0.35")  # what is kept can be looked at meanwhile
    page.keyboard.press("l")
    server.start()
    wait(page, "s.connected")
    show(page, server, tick(100.0, away=0.4))
    after = state(page)
    assert after["received"] == before["received"] + 1
    assert after["oldest"] == before["oldest"] and after["newest"] > before["newest"]
    assert after["newest"] - before["newest"] < 1, "the gap is cut short"


@needs_chromium
def test_says_what_the_server_complains_of(open_page: Open, server: PageServer):
    page = connected(open_page())
    server.send({"type": "error", "message": "too many viewers: at most 64"})
    server.hang_up(1008)
    page.get_by_text("too many viewers: at most 64; trying again").first.wait_for()
    wait(page, "s.connected")
    server.send(tick(0.0, pose=walker(0.0)[:5]))
    page.get_by_text("a pose of 5 points came, the body has 18").first.wait_for()


@needs_chromium
def test_the_token_goes_to_the_server_and_leaves_the_address(open_page: Open, server: PageServer):
    page = connected(open_page("?token=a%26b&session=s1&other=1"))
    assert server.asked.get(timeout=10) == "/v1/watch?session=s1&token=a%26b"
    assert page.url == server.url + "?session=s1&other=1"
    server.refuse = 4401
    page = open_page()
    page.get_by_text("the server asks for a token").first.wait_for()
    server.asked.get(timeout=10)
    with pytest.raises(queue.Empty):
        server.asked.get(timeout=1.5)  # it does not knock again with the same token


@needs_chromium
def test_several_persons(open_page: Open, server: PageServer):
    page = connected(open_page())
    assert page.locator("#tracks").is_hidden()
    both = [tick(0.0, track="Ann", away=-0.5), tick(0.0, track="Ben", away=0.5, label="boxing")]
    server.send(*both)
    wait(page, "s.bodies === 2")
    page.locator("#track option").nth(1).wait_for(state="attached")
    assert page.locator("#track option").all_inner_texts() == ["Ann", "Ben"]
    assert sorted(page.locator("#names span:visible").all_inner_texts()) == ["Ann", "Ben"]
    page.locator("#track").select_option("Ben")
    wait(page, "s.track === 'Ben'")
    page.get_by_text("boxing", exact=True).first.wait_for()
    page.locator("#track").select_option("Ann")
    wait(page, "s.track === 'Ann'")
    # Ben is gone: after a while without him only Ann is drawn
    server.send(*(tick(k / 5, track="Ann", away=-0.5) for k in range(1, 9)))
    wait(page, "s.bodies === 1 && s.track === 'Ann'")


@needs_chromium
def test_keeps_a_minute_and_its_time_never_goes_back(open_page: Open, server: PageServer):
    page = connected(open_page())
    for clip in range(14):  # of six seconds, each from 0
        server.send(*(tick(k / 5, ghosts=[], edges=[]) for k in range(30)))
        wait(page, f"s.received === {30 * (clip + 1)}")
        now = state(page)
        assert now["newest"] - now["oldest"] <= 60.0
    assert now["oldest"] > 15 and now["newest"] == pytest.approx(14 * 29 / 5 + 13 / 25)
    page.keyboard.press("Home")
    wait(page, "s.paused && s.position === s.oldest")
    before, time = picture(page), state(page)["time"]
    server.send(*(tick(k / 5, ghosts=[], edges=[]) for k in range(30)))
    wait(page, "s.received === 450")
    assert state(page)["time"] == time and not changed(picture(page), before).any(), "a paused picture stays"


@needs_chromium
def test_draws_only_when_something_changed(open_page: Open, server: PageServer):
    page = connected(open_page())
    show(page, server, tick(0.0))
    frames = page.evaluate(
        """async () => {
            const frame = () => new Promise(requestAnimationFrame);
            // Whatever is still due is drawn in these, then nothing moves any more.
            for (let k = 0; k < 20; k++) await frame();
            const before = symgnn.state().frames;
            for (let k = 0; k < 20; k++) await frame();
            return symgnn.state().frames - before;
        }"""
    )
    assert frames == 0


@needs_chromium
def test_help_opens_and_closes_by_keyboard(open_page: Open):
    page = connected(open_page())
    page.keyboard.press("?")
    page.get_by_role("heading", name="What is this?").wait_for()
    assert page.locator("#help").evaluate("help => help.scrollTop") == 0, "read from the top"
    page.keyboard.press("Space")  # the page behind does not listen meanwhile
    assert not state(page)["paused"]
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="What is this?").wait_for(state="hidden")
    page.get_by_role("button", name="What is this?").click()
    page.keyboard.press("Escape")
    page.get_by_role("heading", name="What is this?").wait_for(state="hidden")
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "what has the focus shows it"


@needs_chromium
def test_every_control_has_a_name(open_page: Open, server: PageServer):
    page = connected(open_page())
    show(page, server, tick(0.0))
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas")].filter((one) =>
            !one.getAttribute("aria-label") && !one.textContent.trim() && !one.labels?.length).map((one) => one.id)"""
    )
    assert nameless == []


@needs_chromium
def test_a_phone_is_wide_enough(open_page: Open, server: PageServer):
    page = connected(open_page(width=360, height=740, has_touch=True, is_mobile=True))
    show(page, server, tick(0.0, truth="a class with quite a long name"))
    page.keyboard.press("?")
    page.get_by_role("button", name="Close").click()
    page.locator("#options summary").click()
    widths = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths == [360, 360]
    for name in ("view", "scrub", "pause", "live", "horizon", "ghosts", "reset", "chart"):
        box = page.locator(f"#{name}").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["width"] > 20, name
    assert page.locator("#view").bounding_box()["y"] + 250 < page.locator("#chart").bounding_box()["y"], "under the view"


@needs_chromium
def test_dark_and_light(open_page: Open):
    def paper(page: Page) -> float:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return float(np.mean([int(value) for value in re.findall(r"\d+", colour)[:3]]))

    page = connected(open_page(color_scheme="dark"))
    assert paper(page) < 40
    dark = picture(page)
    page.get_by_role("button", name="Light colours").click()
    assert paper(page) > 240
    assert picture(page).mean() > dark.mean() + 100
    page.reload()
    wait(page, "s.connected")
    assert paper(page) > 240, "the choice is kept"
    assert paper(open_page(color_scheme="light")) > 240
    denied = (
        """Object.defineProperty(window, "localStorage", { get() { throw new DOMException("denied", "SecurityError"); } })"""
    )
    page = connected(open_page(color_scheme="dark", before=denied))
    page.get_by_role("button", name="Light colours").click()
    assert paper(page) > 240


@needs_chromium
def test_without_webgl_the_body_is_drawn_all_the_same(open_page: Open, server: PageServer):
    no_webgl = """
        const plain = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return kind.startsWith("webgl") ? null : plain.call(this, kind, ...rest);
        };"""
    page = bare(connected(open_page(before=no_webgl)))
    show(page, server, tick(0.0))
    assert state(page)["renderer"] == "2d"
    start, _ = middle_of(left_limbs(picture(page)))
    show(page, server, tick(0.04, away=0.3))
    assert middle_of(left_limbs(picture(page)))[0] > start + 40
    page.keyboard.press("g")
    page.keyboard.press("e")
    show(page, server, tick(0.08, away=math.pi / 10))


@needs_chromium
def test_a_model_that_only_predicts_or_only_recognises(open_page: Open, server: PageServer):
    server.hello["model"] = model(recognises=False, classes=[])
    page = connected(open_page())
    show(page, server, tick(0.0, label=None, probabilities={}))
    assert page.locator("#chart").is_hidden() and page.locator("#label").is_hidden() and page.locator("#horizon").is_visible()
    server.hello["model"] = model(predicts=False)
    page = connected(open_page())
    show(page, server, tick(0.0, ghosts=[], milliseconds=[]))
    assert page.locator("#chart").is_visible() and page.locator("#horizon").is_hidden() and page.locator("#ramp").is_hidden()
