"""What everybody can rely on: names, contrast, the keyboard, a phone, light and dark."""

import pytest
from looking import DESKTOP, PHONE, choose, dreamed, given, photo, smaller, strip_filled, visiting
from running import screenshot

TABS = ("Dream", "Zoom", "Batch", "Microscope")

# Names as a screen reader computes them, as far as this page needs.
UNNAMED = """() => {
    const seen = (node) => node.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
    const named = (node) => {
        const by = (node.getAttribute("aria-labelledby") ?? "").split(/\\s+/)
            .map((id) => document.getElementById(id)?.textContent ?? "").join("");
        const labels = [...(node.labels ?? [])].map((label) => label.textContent).join("");
        const inside = ["A", "BUTTON", "SUMMARY"].includes(node.tagName)
            ? node.textContent + [...node.querySelectorAll("img")].map((i) => i.alt).join("") : "";
        return (node.getAttribute("aria-label") || by || labels || inside || node.alt || "").trim();
    };
    return [...document.querySelectorAll(
        "a[href], button, input:not([type=hidden]), select, textarea, video, progress, summary,"
        + " [role=slider], [role=radio], [role=tab], [role=option], [tabindex='0']"
    )].filter((node) => seen(node) && !node.closest("[aria-hidden=true]") && !named(node))
        .map((node) => node.outerHTML.slice(0, 160));
}"""

# Each text against the colours behind it; pictures behind text are left to the eye.
FAINT = """() => {
    const parse = (text) => {
        const canvas = document.createElement("canvas")
            .getContext("2d", { willReadFrequently: true });
        canvas.fillStyle = text;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => {
        const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const behind = (node) => {
        for (let at = node; at; at = at.parentElement) {
            const style = getComputedStyle(at);
            if (style.backgroundImage !== "none") return null;
            const colour = parse(style.backgroundColor);
            if (colour[3] > 250) return colour;
            if (colour[3] > 5 || getComputedStyle(at).position === "absolute") return null;
        }
        return [255, 255, 255, 255];
    };
    const faint = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let checked = 0;
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        const text = walker.currentNode.textContent.trim();
        if (!text || !node.checkVisibility({ checkOpacity: true })) continue;
        if (node.closest("[disabled], [aria-disabled=true], script, noscript")) continue;
        if (node.closest(".visually-hidden")) continue;
        const style = getComputedStyle(node);
        const back = behind(node);
        if (!back) continue;
        checked += 1;
        const [one, two] = [light(parse(style.color)), light(back)].sort((a, b) => b - a);
        const ratio = (one + 0.05) / (two + 0.05);
        const large = parseFloat(style.fontSize) >= 24
            || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
        if (ratio < (large ? 3 : 4.5)) {
            faint.push(`${ratio.toFixed(2)} ${text.slice(0, 40)}`);
        }
    }
    return { faint, checked };
}"""

# What can have the focus: one of a group that is walked by arrows stands for the group.
REACHABLE = """() => document.querySelectorAll("[data-reach]")
    .forEach((node) => delete node.dataset.reach) ?? [...document.querySelectorAll(
    "a[href], button, input:not([type=hidden]), select, textarea, summary, video, [tabindex='0']"
)].filter((node) => node.checkVisibility({ checkVisibilityCSS: true }) && !node.disabled
    && node.tabIndex >= 0 && !node.closest("[inert]"))
    .filter((node) => node.type !== "radio" || node === (
        document.querySelector(`input[name="${node.name}"]:checked`)
        ?? document.querySelector(`input[name="${node.name}"]`)))
    .map((node, index) => (node.dataset.reach = index))"""

# What has the focus, and whether that is seen: at itself, or at what stands for it.
FOCUS = """() => {
    const node = document.activeElement;
    const seen = (each) => each && [each, each.parentElement, each.nextElementSibling]
        .filter(Boolean).some((near) => {
            const style = getComputedStyle(near);
            return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1.5;
        });
    return [node.dataset.reach ?? null, seen(node), node.outerHTML.slice(0, 160)];
}"""

SMALL = """() => [...document.querySelectorAll("button, select, [role=slider]")]
    .filter((node) => node.checkVisibility({ checkOpacity: true }))
    .map((node) => [node, node.getBoundingClientRect()])
    .filter(([node, box]) => box.width > 0 && (box.width < 24 || box.height < 24)
        && !node.matches(".link, .compare-line, .block-edge"))
    .map(([node, box]) => `${box.width}x${box.height} ${node.outerHTML.slice(0, 120)}`)"""


@pytest.fixture(scope="module", params=["light", "dark"])
def scheme(request):
    return request.param


@pytest.fixture(scope="module", params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(request, browser, studio, scheme):
    with visiting(browser, studio.url, viewport=request.param, scheme=scheme) as page:
        assert page.evaluate(FAINT)["faint"] == []
        choose(page, given("look.png", photo()))
        strip_filled(page)
        smaller(page)
        page.get_by_role("button", name="Dream", exact=True).click()
        dreamed(page)
        page.size = "phone" if request.param is PHONE else "desktop"
        page.scheme = scheme
        yield page


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_has_names_contrast_and_room(page, tab):
    page.get_by_role("tab", name=tab).click()
    page.wait_for_timeout(400)
    screenshot(page, f"{tab.lower()}-{page.size}-{page.scheme}")
    assert page.evaluate(UNNAMED) == []
    found = page.evaluate(FAINT)
    assert found["faint"] == []
    assert found["checked"] > 10
    assert page.evaluate(SMALL) == []
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= page.viewport_size["width"]
    levels = page.evaluate(
        "() => [...document.querySelectorAll('h1, h2, h3, h4')]"
        ".filter((h) => h.checkVisibility()).map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


@pytest.mark.parametrize("tab", TABS)
def test_the_keyboard_reaches_everything(page, tab):
    page.get_by_role("tab", name=tab).click()
    page.wait_for_timeout(300)
    wanted = set(page.evaluate(REACHABLE))
    assert len(wanted) > 5
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Home")
    reached, unseen = set(), []
    for _ in range(3 * len(wanted) + 30):
        page.keyboard.press("Tab")
        number, seen, markup = page.evaluate(FOCUS)
        if number is not None:
            reached.add(int(number))
            if not seen:
                unseen.append(markup)
        if reached >= wanted:
            break
    missed = [
        page.evaluate(f"document.querySelector('[data-reach=\"{each}\"]')?.outerHTML.slice(0, 200)")
        for each in wanted - reached
    ]
    assert [each for each in missed if each] == []
    assert unseen == []


def test_the_document_says_what_it_is(page):
    assert page.locator("html").get_attribute("lang") == "en"
    assert "dreamer" in page.title()
    for name in ("viewport", "description"):
        assert page.locator(f"meta[name={name}]").get_attribute("content")
    assert "user-scalable" not in page.locator("meta[name=viewport]").get_attribute("content")
    doubled = page.evaluate(
        "() => [...document.querySelectorAll('[id]')].map((node) => node.id)"
        ".filter((id, at, all) => all.indexOf(id) !== at)"
    )
    assert doubled == []
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("main").count() == 1
    roles = page.evaluate(
        "() => [...document.querySelectorAll('[aria-labelledby], [aria-controls]')].flatMap("
        "(node) => [node.getAttribute('aria-labelledby'), node.getAttribute('aria-controls')])"
        ".filter(Boolean).flatMap((ids) => ids.split(' '))"
        ".filter((id) => !document.getElementById(id))"
    )
    assert roles == []


def test_tabs_are_walked_by_arrows_and_kept_in_the_address(page):
    page.get_by_role("tab", name="Dream").click()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Zoom").get_attribute("aria-selected") == "true"
    assert page.url.endswith("#zoom")
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("tabpanel").locator("visible=true").count() == 1


def test_the_theme_is_chosen_and_remembered(page):
    theme = page.locator("#theme")
    for _ in range(3):
        theme.click()
        if "dark" in theme.get_attribute("aria-label"):
            break
    page.reload()
    page.get_by_role("tab", name="Dream").wait_for()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.evaluate("localStorage.removeItem('dreamer.theme')")
    page.reload()
    page.get_by_role("tab", name="Dream").wait_for()
