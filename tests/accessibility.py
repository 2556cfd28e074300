"""What every page owes to everybody: looked up in a real browser, and given back as a list of faults.

The rules are those of the Web Content Accessibility Guidelines 2.2, level AA, as far as a program sees them,
and those of the project: no request, no name of a host or of a folder, and the word simulated or recorded.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.browser import NARROW_PX, WIDE_PX, Browser, Opened

MOST_TABS = 80
# A namespace is a name, and nothing is asked for it.
NAMESPACES = re.compile(r"http://www\.w3\.org/\S*?[\"' ]")
ADDRESS = re.compile(
    r"\b(?:https?|ftp|wss?|file)://[^\s\"'<>]*|(?<![\w.])/(?:home|root|tmp|work|Users)/[\w.-]+"
)

STRUCTURE = """() => {
  const faults = [];
  const named = (element) => (element.getAttribute("aria-label") || element.textContent).trim();
  const hidden = (element) => element.closest("[aria-hidden=true]");
  if (!document.documentElement.lang) faults.push("the page does not say its language");
  if (!document.title.trim()) faults.push("the page has no title");
  const headings = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((one) => +one.localName[1]);
  if (headings.filter((level) => level === 1).length !== 1) faults.push("not one h1");
  headings.forEach((level, n) => {
    if (level > (n ? headings[n - 1] : 0) + 1) faults.push(`heading ${n + 1} leaves a level out`);
  });
  for (const image of document.images)
    if (!image.alt.trim()) faults.push(`a picture without alternative text: ${image.outerHTML.slice(0, 80)}`);
  for (const drawing of document.querySelectorAll("svg")) {
    if (hidden(drawing) || drawing.parentElement.closest("svg")) continue;
    const name = drawing.getAttribute("aria-label") || drawing.querySelector(":scope > title")?.textContent;
    const inside = drawing.querySelector("[aria-label]");
    if (!name?.trim() && !inside) faults.push(`a drawing without a name: ${drawing.outerHTML.slice(0, 80)}`);
  }
  for (const heading of document.querySelectorAll("th"))
    if (!heading.scope) faults.push(`a heading of a table without scope: ${heading.textContent}`);
  for (const element of document.querySelectorAll("[tabindex]"))
    if (element.tabIndex > 0) faults.push(`a tabindex above 0: ${element.outerHTML.slice(0, 80)}`);
  for (const control of document.querySelectorAll("button, a[href], summary"))
    if (!named(control)) faults.push(`a control without a name: ${control.outerHTML.slice(0, 80)}`);
  for (const { id } of document.querySelectorAll("[id]"))
    if (document.querySelectorAll(`[id="${CSS.escape(id)}"]`).length > 1) faults.push(`an id twice: ${id}`);
  for (const link of document.querySelectorAll("a[href^='#']")) {
    const place = link.getAttribute("href").slice(1);
    if (!document.getElementById(place)) faults.push(`a link to nothing: ${place}`);
  }
  return faults;
}"""

CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const channels = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (rgb) => {
    const linear = (c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
    const [r, g, b] = rgb.slice(0, 3).map((c) => linear(c / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const background = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = channels(getComputedStyle(one).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return channels("Canvas");
  };
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("script, style, title, desc")) continue;
    if (!element.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(element), drawn = element.closest("svg") !== null;
    const halo = drawn && style.stroke !== "none" && style.paintOrder.startsWith("stroke");
    const front = luminance(channels(drawn ? style.fill : style.color));
    const back = luminance(halo ? channels(style.stroke) : background(element));
    const ratio = (Math.max(front, back) + .05) / (Math.min(front, back) + .05);
    const name = `${element.localName}.${element.getAttribute("class") ?? ""}`;
    if (ratio < 4.5) found.set(name, ratio.toFixed(2));
  }
  return [...found].map(([name, ratio]) => `contrast ${ratio} of ${name}`);
}"""

DRAWN_TEXT = """() => {
  const faults = [];
  for (const drawing of document.querySelectorAll("svg")) {
    const whole = drawing.getBoundingClientRect();
    const texts = [...drawing.querySelectorAll("text")].filter((text) => text.textContent.trim()
      && text.checkVisibility({ visibilityProperty: true, opacityProperty: true }));
    // What lies wholly outside is not in view; a map may show it later.
    const boxes = texts.map((text) => ({ text: text.textContent, box: text.getBoundingClientRect() }))
      .filter(({ box }) => box.right > whole.left && box.left < whole.right && box.bottom > whole.top
        && box.top < whole.bottom);
    for (const { text, box } of boxes)
      if (box.left < whole.left - 1 || box.right > whole.right + 1 || box.top < whole.top - 1
          || box.bottom > whole.bottom + 1)
        faults.push(`cut off: ${text}`);
    boxes.forEach(({ text, box }, n) => {
      for (const other of boxes.slice(n + 1)) {
        const wide = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
        const high = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
        // Boxes are as high as a line, letters are not.
        if (wide > 2 && high > .35 * Math.min(box.height, other.box.height))
          faults.push(`one over the other: ${text} and ${other.text}`);
      }
    });
  }
  return faults;
}"""

FOCUSED = """() => {
  const element = document.activeElement;
  if (element === document.body || element.localName === "html") return null;
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  const within = box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight;
  return [element.outerHTML.slice(0, 80), ring, within];
}"""


def faults(browser: Browser, file: Path) -> list[str]:
    """Everything that is wrong with a page, wide and narrow, light and dark.

    Args:
        browser: The browser of the tests.
        file: The page, complete in itself.
    """
    found = [f"names a place: {one}" for one in ADDRESS.findall(NAMESPACES.sub("", file.read_text("utf-8")))]
    with browser.open(file, WIDE_PX, "light") as opened:
        found += _of_every(opened)
        found += opened.page.evaluate(STRUCTURE)
        found += opened.page.evaluate(DRAWN_TEXT)
        found += _keyboard(opened)
        if not re.search(r"\b(simulated|recorded)\b", opened.page.inner_text("body")):
            found.append("does not say whether its data are simulated or recorded")
    with browser.open(file, WIDE_PX, "dark") as opened:
        found += _of_every(opened)
    with browser.open(file, NARROW_PX, "dark") as opened:
        found += _of_every(opened)
        found += [f"narrow: {one}" for one in opened.page.evaluate(DRAWN_TEXT)]
    return list(dict.fromkeys(found))


def _of_every(opened: Opened) -> list[str]:
    """What holds at every width and in both schemes."""
    opened.page.wait_for_load_state()
    found = [f"asks for {one}" for one in opened.requests] + [f"complains: {one}" for one in opened.problems]
    if opened.beyond_px() > 0:
        found.append(f"{opened.beyond_px()} px too wide")
    return found + list(opened.page.evaluate(CONTRAST))


def _keyboard(opened: Opened) -> list[str]:
    """Whether whatever Tab reaches shows that it has the focus."""
    found, seen = [], 0
    for _ in range(MOST_TABS):
        opened.page.keyboard.press("Tab")
        focused = opened.page.evaluate(FOCUSED)
        if focused is None:
            break
        seen += 1
        element, ring, within = focused
        if not ring:
            found.append(f"no visible focus: {element}")
        if not within:
            found.append(f"focus out of sight: {element}")
    return found if seen else ["nothing can be reached by Tab"]
