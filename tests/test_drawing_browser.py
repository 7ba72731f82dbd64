"""The page to draw on, in a real Chromium: what it does with mouse, pen, finger, keys and screen reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import opened
from pages import made, wrote
from strokes import bars, place, seven

from digitsweep.families import parse_params
from digitsweep.prediction.predicting import UNSURE
from digitsweep.report.drawing import Examples

pytestmark = pytest.mark.slow


@pytest.fixture
def drawn(browser: Any, tmp_path: Path) -> Path:
    """A page with two networks, untrained, and two examples."""
    models = {
        name: made(parse_params(family, minimal))
        for name, family, minimal in (("ANN", "ann", {"hidden_layers": 0}), ("CNN", "cnn", {"blocks": 1, "filters": 4}))
    }
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    return wrote(tmp_path, models, examples=Examples([12, 345], images, np.array([4, 9], np.uint8)))


def test_the_bars_follow_the_pen(browser: Any, drawn: Path) -> None:
    """The bars change while one draws, undo takes back a stroke, clear all of them, and undo brings them back."""
    with opened(browser, drawn) as page:
        assert set(bars(page)) == {0.0}
        assert page.page.is_disabled("#undo")
        page.page.mouse.move(*place(page, 0.25, 0.15))
        page.page.mouse.down()
        seen = []
        for step in range(1, 4):
            page.page.mouse.move(*place(page, 0.25 + 0.05 * step, 0.15 + 0.2 * step))
            page.settle()
            seen.append(bars(page))
        assert len({tuple(each) for each in seen}) == 3, "they change before the pen is lifted"
        page.page.mouse.up()
        page.page.click("#clear")
        page.settle()
        assert set(bars(page)) == {0.0}
        seven(page)
        both = bars(page)
        assert sum(both[:10]) == pytest.approx(100, abs=0.1)
        page.page.click("#undo")
        page.settle()
        assert bars(page) != both
        page.page.keyboard.press("Control+z")
        page.page.keyboard.press("Control+z")
        page.settle()
        assert bars(page) == seen[-1], "the stroke from before the paper was cleared"


def test_a_finger_draws(browser: Any, drawn: Path) -> None:
    """Touches draw, and the page does not scroll under the finger."""
    with opened(browser, drawn, width=390, height=844, has_touch=True, is_mobile=True) as page:
        session = page.page.context.new_cdp_session(page.page)

        def touch(kind: str, *at: float) -> None:
            points = [dict(zip("xy", place(page, *at), strict=True))] if at else []
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", 0.3, 0.2)
        seen = []
        for step in range(1, 9):
            touch("touchMove", 0.3 + 0.03 * step, 0.2 + 0.07 * step)
            page.settle()
            seen.append(tuple(bars(page)))
        touch("touchEnd")
        assert len(set(seen)) > 4, "they change before the finger is lifted"
        assert page.run("() => scrollY") == 0
        assert page.run("() => sheet().strokes[0].length") > 4
        page.page.tap("#clear")
        page.settle()
        assert set(bars(page)) == {0.0}


def test_a_pen_draws(browser: Any, drawn: Path) -> None:
    """A pen draws a stroke, however hard it is pressed; its second button does not."""
    with opened(browser, drawn) as page:
        session = page.page.context.new_cdp_session(page.page)

        def pen(kind: str, x: float, y: float, button: str = "left", force: float = 0.0) -> None:
            at = dict(zip("xy", place(page, x, y), strict=True))
            of_pen = {"pointerType": "pen", "button": button, "clickCount": 1, "force": force}
            session.send("Input.dispatchMouseEvent", {"type": kind, **at, **of_pen})

        for button, x in (("left", 0.4), ("right", 0.6)):
            pen("mousePressed", x, 0.2, button, 0.1)
            for step in range(1, 5):
                pen("mouseMoved", x, 0.2 + 0.1 * step, button, 0.2 * step)
            pen("mouseReleased", x, 0.6, button)
        page.settle()
        strokes = page.run("() => sheet().strokes")
        assert [{round(x, 1) for x, _ in points} for points in strokes] == [{0.4}]
        assert max(bars(page)) > 0


def test_keys_draw(browser: Any, drawn: Path) -> None:
    """Without a mouse: tab to the paper, put the pen down, move it, lift it; undo and clear."""
    with opened(browser, drawn) as page:
        keyboard = page.page.keyboard
        keyboard.press("Tab")  # the paper is first
        assert page.run("() => document.activeElement.id") == "paper"
        for key in ["ArrowUp"] * 6 + ["Space"] + ["ArrowDown"] * 12 + ["Space"] + ["ArrowLeft"] * 3:
            keyboard.press(key)
        page.settle()
        assert page.run("() => sheet().strokes.map((points) => points.length)") == [13]
        assert max(bars(page)) > 0
        keyboard.press("u")
        page.settle()
        assert set(bars(page)) == {0.0}
        keyboard.press("Space")
        keyboard.press("ArrowDown")
        keyboard.press("Delete")
        page.settle()
        assert set(bars(page)) == {0.0}
        assert page.run("() => pen.isDown") is False


def test_everything_is_reached_by_keys(browser: Any, drawn: Path) -> None:
    """Tab goes from the paper to undo, clear and each example, whose focus is seen; enter presses them."""
    with opened(browser, drawn) as page:
        seven(page)
        reached = []
        for _ in range(4):
            page.page.keyboard.press("Tab")
            reached.append(page.run("() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"))
            assert page.run("() => getComputedStyle(document.activeElement).outlineStyle") != "none"
        assert reached == ["undo", "clear", "Test image 12, labelled 4", "Test image 345, labelled 9"]
        page.page.keyboard.press("Enter")
        page.settle()
        assert "Test image 345" in page.text("#verdict")
        page.page.focus("#clear")
        page.page.keyboard.press("Enter")
        page.settle()
        assert set(bars(page)) == {0.0}


def test_an_example_is_read(browser: Any, drawn: Path) -> None:
    """An example goes to the networks as it is, says what its label is, and makes way for a drawing."""
    with opened(browser, drawn) as page:
        page.page.get_by_role("button", name="Test image 345, labelled 9").click()
        page.settle()
        assert "Test image 345, labelled 9." in page.text("#verdict")
        shown = page.run("() => [imagesOf(sheet())['28,28,1'].image, examples[1].pixels].map((each) => Array.from(each))")
        assert shown[0] == shown[1]
        assert page.page.get_attribute("#examples li:nth-child(2) button", "aria-pressed") == "true"
        example = bars(page)
        seven(page)
        assert "Test image" not in page.text("#verdict")
        assert bars(page) != example
        page.page.click("#undo")
        page.page.click("#undo")
        page.settle()
        assert bars(page) == example


def test_the_verdict_says_who_disagrees_and_who_is_unsure(browser: Any, drawn: Path) -> None:
    """The line above the bars says whether the networks agree, and which of them are unsure."""
    with opened(browser, drawn) as page:

        def told(*shares: float) -> str:
            """For two networks with these probabilities of 4 and of 9."""
            readings = [
                {"name": name, "note": "", "label": 4 if four >= 0.5 else 9, "isSure": max(four, 1 - four) >= UNSURE}
                for name, four in zip(("ANN", "CNN"), shares, strict=True)
            ]
            return str(page.run("(readings) => verdictOf(readings, {})", readings))

        assert told(0.99, 0.95) == "Both read 4."
        assert told(0.99, 0.02) == "They disagree: ANN reads 4 and CNN reads 9."
        assert told(0.99, 0.55) == "Both read 4. CNN is unsure."
        assert told(0.6, 0.3) == "They disagree: ANN reads 4 and CNN reads 9. Both are unsure."


def test_what_is_no_digit_has_none(browser: Any, drawn: Path) -> None:
    """For a drawing that `predict` takes for no digit, the page says why, and no model reads one."""
    with opened(browser, drawn) as page:
        page.page.mouse.move(*place(page, 0.1, 0.5))
        page.page.mouse.down()
        page.page.mouse.move(*place(page, 0.9, 0.5), steps=5)
        page.page.mouse.up()
        page.settle()
        assert page.text("#verdict") == "Not a digit: horizontal line."
        assert [each.inner_text() for each in page.page.locator(".read").all()] == ["–", "–"]
        page.page.wait_for_function("() => document.querySelector('[role=status]').textContent.includes('horizontal')")
        assert page.page.text_content("[role=status]") == "Not a digit: horizontal line."


def test_a_screen_reader_hears_the_result(browser: Any, drawn: Path) -> None:
    """When the pen rests, the live region holds what both networks read. Every control has a name, every heading its place,
    and the paper says how keys draw."""
    with opened(browser, drawn) as page:
        seven(page)
        page.page.wait_for_function("() => document.querySelector('[role=status]').textContent.includes('CNN:')")
        for role, name in (
            ("button", "Undo"),
            ("button", "Clear"),
            ("button", "Test image 12, labelled 4"),
            ("application", "Paper to draw on"),
            ("region", "How it is read"),
            ("table", "Probabilities of CNN"),
            ("rowheader", "7"),
            ("img", "28x28 pixels, after preparation"),
        ):
            assert page.page.get_by_role(role, name=name).count() == (2 if role == "rowheader" else 1), name
        levels = page.run("() => Array.from(document.querySelectorAll('h1, h2, h3'), (each) => Number(each.tagName[1]))")
        assert levels == [1, 2, 3, 3, 2]
        described = page.run("() => element(paper.getAttribute('aria-describedby')).textContent")
        assert "arrows move the pen" in described


def test_no_request_can_leave(browser: Any, drawn: Path) -> None:
    """The page's policy forbids whatever a script could try, so that nothing drawn can leave it."""
    tries = """async (address) => {
        const refused = [];
        document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
        await fetch(address).catch(() => {});
        navigator.sendBeacon(address, "drawn");
        for (const name of ["WebSocket", "EventSource"]) try { new window[name](address); } catch {}
        new Image().src = address;
        const elements = { script: "src", iframe: "src", link: "href" };
        for (const [name, attribute] of Object.entries(elements)) {
            const made = Object.assign(document.createElement(name), { rel: "stylesheet", [attribute]: address });
            document.head.append(made);
        }
        await new Promise((done) => setTimeout(done, 500));
        return refused;
    }"""
    with opened(browser, drawn) as page:
        failures = list[str]()
        page.page.on("requestfailed", lambda request: failures.append(request.failure))
        refused = page.run(tries, "https://example.org/")
        assert set(refused) == {"connect-src", "img-src", "script-src-elem", "frame-src", "style-src-elem"}
        assert refused.count("connect-src") == 4
        assert set(failures) == {"csp"}, "none of them reached the network, which is not there"
        del page.asked[1:]  # those that Chromium names before it refuses them
        page.complaints.clear()  # about each of them
        seven(page)
        assert max(bars(page)) > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1600])
def test_it_fits_every_screen(browser: Any, drawn: Path, width: int, scheme: str) -> None:
    """From a phone to a large screen, light and dark: nothing is cut off, and ink differs from paper."""
    with opened(browser, drawn, width=width, height=800, color_scheme=scheme) as page:
        seven(page)
        assert page.run("() => document.documentElement.scrollWidth") <= width
        ink, ground = page.run(
            "() => [getComputedStyle(paper).color, getComputedStyle(paper.parentElement).backgroundColor].map((each) => "
            "Number(each.match(/\\d+/)[0]))"
        )
        assert abs(ink - ground) > 150
        assert (ink > ground) == (scheme == "dark")
