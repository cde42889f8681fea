"""The page in a real browser: it moves, answers, stays safe with any text, and can be used by everybody."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.events import NOW_MS, event_bytes, record
from tests.support.worked import Worked

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DEADLINE_MS = 60_000
EVIL_USER = '<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>'
EVIL_ITEM = '"><svg onload="window.hacked=3">'
EVIL_TITLE = "</li><script>window.hacked=4</script><b>Mug</b>"
LONG_USER = "x" * 250


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[Worked, str]]:
    """A worker that goes round in this process, with users of all kinds, and the address of its page."""
    with at_work() as live:
        yield live


@pytest.fixture
def untouched() -> Iterator[tuple[Worked, str]]:
    """The same, to which no other test has sent anything."""
    with at_work() as live:
        yield live


@contextmanager
def at_work() -> Iterator[tuple[Worked, str]]:
    worked = Worked(metrics={"port": 0}, evidence={"owned": ()}, topics={"items": "page-browser-items"})
    worked.page._titles._run = lambda: None  # type: ignore[method-assign]  # no broker here: titles are given
    worked.page._titles.take(
        [record(f'{{"item":"i{n}","title":"Thing {n}"}}'.encode(), key=b"i%d" % n) for n in (1, 2)]
    )
    worked.page._titles._titles[EVIL_ITEM] = EVIL_TITLE
    worked.send(40)
    for user, item in ((EVIL_USER, EVIL_ITEM), (EVIL_USER, "i3"), (LONG_USER, "y" * 250), (LONG_USER, EVIL_ITEM)):
        worked.log.produce(event_bytes(user, item, ts=NOW_MS), key=user.encode())
    worked.log.produce(event_bytes("odd", "constructor", ts=NOW_MS), key=b"odd")
    with worked.served(seconds_per_round=0.05) as port:
        yield worked, f"http://127.0.0.1:{port}/"


@contextmanager
def opened(browser: "Browser", address: str, width: int = 1280, **options: Any) -> Iterator["Page"]:
    """Open the page in a fresh window and wait until it is live; at the end it must have complained of nothing."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    context.set_default_timeout(DEADLINE_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(address) else complaints.append(request.url))
    try:
        page.goto(address)
        page.wait_for_selector("#status[data-state=live]")
        page.wait_for_selector("#chart polyline", state="attached")
        yield page
    finally:
        context.close()
    assert complaints == []


def look_up(page: "Page", user: str) -> None:
    page.fill("#user", user)
    page.press("#user", "Enter")
    page.wait_for_function("user => document.getElementById('answer').textContent.includes(user)", arg=user)


@pytest.mark.slow
def test_the_page_loads_without_a_complaint_and_shows_every_part(
    browser: "Browser", untouched: tuple[Worked, str]
) -> None:
    with opened(browser, untouched[1]) as page:
        assert page.title() == "Millstream, live"
        assert page.inner_text("#freshness") == "750 ms"
        assert page.inner_text("#lag") == "7"
        assert page.inner_text("#legend").split()[::3] == ["model", "transitions", "popularity"]
        assert page.locator("#chart polyline").count() == 3
        assert "model" in (page.get_attribute("#chart", "aria-label") or "")
        assert page.inner_text("#letters-note") == "None since this worker started."
        assert page.locator("#epochs tr").count() == 6


@pytest.mark.slow
def test_an_item_may_have_the_name_of_something_that_every_object_has(
    browser: "Browser", live: tuple[Worked, str]
) -> None:
    with opened(browser, live[1]) as page:
        look_up(page, "odd")
        assert page.inner_text("#history li span >> nth=0") == "constructor"


@pytest.mark.slow
def test_numbers_move_while_events_flow(browser: "Browser", live: tuple[Worked, str]) -> None:
    worked, address = live
    with opened(browser, address) as page:
        epoch = int(page.inner_text("#epochs td >> nth=0"))
        shown = page.inner_text("#rate-note")
        points = "document.querySelector('#chart .line.model').getAttribute('points').split(' ').length"
        num_points = page.evaluate(points)
        worked.send(40)
        worked.log.produce(b"not json")

        page.wait_for_function(
            "least => Number(document.querySelector('#epochs td').textContent) >= least", arg=epoch + 5
        )
        page.wait_for_function(f"least => {points} > least", arg=num_points)
        page.wait_for_function("() => document.getElementById('letters').textContent.includes('not_json')")
        assert page.inner_text("#rate-note") != shown


@pytest.mark.slow
def test_a_user_is_shown_with_history_list_reasons_and_shares(browser: "Browser", live: tuple[Worked, str]) -> None:
    with opened(browser, live[1]) as page:
        assert page.is_hidden("#found")
        look_up(page, "u1")

        assert page.locator("#history li").count() >= 8
        assert "Thing 1" in page.inner_text("#history")
        assert page.locator("#places li").count() == 3
        assert "after" in page.inner_text("#places .because >> nth=0")
        assert page.locator("#places li >> nth=0").locator(".bar span").count() >= 2
        page.click("#places summary >> nth=0")
        table = page.inner_text("#places details >> nth=0")
        assert "sequence model" in table
        assert "nats" in table

        look_up(page, "nobody")
        assert page.is_hidden("#found")
        assert "Nothing is known of user nobody" in page.inner_text("#answer")


@pytest.mark.slow
def test_a_click_on_somebody_active_shows_him(browser: "Browser", live: tuple[Worked, str]) -> None:
    with opened(browser, live[1]) as page:
        chip = page.locator("#newest button").first
        user = chip.inner_text()
        chip.click()

        page.wait_for_selector("#places li")
        assert page.input_value("#user") == user


@pytest.mark.slow
def test_script_in_ids_and_titles_is_text(browser: "Browser", live: tuple[Worked, str]) -> None:
    with opened(browser, live[1]) as page:
        look_up(page, EVIL_USER)

        assert EVIL_USER in page.inner_text("#answer")
        assert EVIL_TITLE in page.inner_text("#history")
        assert EVIL_ITEM in page.inner_text("#history")
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script, main svg[onload]").count() == 0

        look_up(page, "<b>unknown</b>")
        assert "<b>unknown</b>" in page.inner_text("#answer")


def test_script_that_got_into_the_page_would_not_run(browser: "Browser", live: tuple[Worked, str]) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(live[1])

    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked=5\">')")
    page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.hacked=6'; document.body.append(s)"
    )
    page.wait_for_timeout(300)

    assert page.evaluate("window.hacked") is None
    context.close()


@pytest.mark.slow
def test_the_keyboard_reaches_everything_and_focus_is_visible(browser: "Browser", live: tuple[Worked, str]) -> None:
    with opened(browser, live[1]) as page:
        page.wait_for_selector("#newest button")
        page.focus("#user")
        page.keyboard.type("u2")
        page.keyboard.press("Enter")
        page.wait_for_selector("#places li")
        page.evaluate("document.activeElement.blur()")
        reached: list[str] = []
        for _ in range(40):
            page.keyboard.press("Tab")
            found = page.evaluate(
                "() => { const e = document.activeElement, s = getComputedStyle(e);"
                " const place = [...document.querySelectorAll(e.tagName)].indexOf(e);"
                " return [e.id || e.tagName.toLowerCase() + place, s.outlineStyle, parseFloat(s.outlineWidth)]; }"
            )
            if found[0] == "body0":
                continue  # round the end
            assert found[1] == "solid", found
            assert found[2] >= 2, found
            reached.append(found[0])
        # The button of the form, somebody active, every place of the list, and the links at the end.
        assert {"user", "button0", "button1", "history", "summary0", "summary1", "summary2"} <= set(reached)
        assert any(name.startswith("a") for name in reached)

        page.focus("#places summary >> nth=1")
        page.keyboard.press("Enter")
        assert page.get_attribute("#places details >> nth=1", "open") is not None


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_needs_sideways_scrolling(browser: "Browser", live: tuple[Worked, str], width: int) -> None:
    with opened(browser, live[1], width) as page:
        for user in ("u1", LONG_USER):
            look_up(page, user)
            page.click("#places summary >> nth=0")
            assert page.evaluate("document.documentElement.scrollWidth") <= width


CONTRASTS = """() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (c) => { const v = c / 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const ground = (e) => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } };
  const found = [];
  for (const e of document.body.querySelectorAll("*")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility()) continue;
    const style = getComputedStyle(e), svg = e instanceof SVGElement;
    const [a, b] = [luminance(parse(svg ? style.fill : style.color)), luminance(ground(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), e.tagName + "#" + e.id + "." + (svg ? "" : e.className)]);
  }
  return found;
}"""


@pytest.mark.slow
def test_text_has_contrast_in_dark_and_in_light(browser: "Browser", live: tuple[Worked, str]) -> None:
    grounds = set()
    for scheme in ("dark", "light"):
        with opened(browser, live[1], color_scheme=scheme) as page:
            look_up(page, "u1")
            page.click("#places summary >> nth=0")
            found = page.evaluate(CONTRASTS)
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(found) > 50
        assert [entry for entry in found if entry[0] < 4.5] == [], scheme
    assert len(grounds) == 2


@pytest.mark.slow
def test_nothing_moves_by_itself_for_those_who_ask_for_that(browser: "Browser", live: tuple[Worked, str]) -> None:
    for wish, durations in (("reduce", {"0s"}), ("no-preference", {"0s", "0.2s", "0.4s"})):
        with opened(browser, live[1], reduced_motion=wish) as page:
            look_up(page, "u1")
            found = page.evaluate(
                "[...document.querySelectorAll('*')].map((e) => getComputedStyle(e).transitionDuration)"
            )
        assert set(found) == durations


@pytest.mark.slow
def test_every_field_has_a_label_and_only_two_places_speak_by_themselves(
    browser: "Browser", live: tuple[Worked, str]
) -> None:
    with opened(browser, live[1]) as page:
        assert page.get_by_label("User id").get_attribute("id") == "user"
        assert page.locator("[aria-live], [role=status], [role=alert]").count() == 2
        assert page.locator("h1").count() == 1
        unnamed = "[...document.querySelectorAll('button')].filter((b) => !b.textContent.trim()).length"
        assert page.evaluate(unnamed) == 0


@pytest.mark.slow
def test_a_lost_connection_is_said_and_found_again(browser: "Browser") -> None:
    worked = Worked(metrics={"port": 0})
    worked.send(8)
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(DEADLINE_MS)
    with worked.served(seconds_per_round=0.05) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#epochs td >> nth=1")
    page.wait_for_selector("#status[data-state=lost]")
    assert page.inner_text("#status").startswith("Disconnected, figures of ")

    again = Worked(metrics={"port": port})
    with again.served(seconds_per_round=0.05):
        page.wait_for_selector("#status[data-state=live]")
    context.close()


@pytest.mark.slow
def test_where_users_are_not_shown_there_is_no_field_for_them(browser: "Browser") -> None:
    worked = Worked(metrics={"port": 0, "page": "numbers"})
    worked.send(8)
    with worked.served(seconds_per_round=0.05) as port, opened(browser, f"http://127.0.0.1:{port}/") as page:
        assert page.is_hidden("#users")
        assert page.is_visible("#epochs")
