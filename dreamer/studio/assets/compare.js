// Before and after: two pictures on each other, and a line between them that can be moved.

import { el } from "./dom.js";

const ROOM = 22; // px, half of the handle's width

/**
 * Put a picture under a part of another one.
 *
 * Args: the addresses of both pictures, and their names; `at`, the share of `before` in percent
 * that is seen first: none of it, so that `after` is seen whole. Returns an element that fills its
 * place; drag anywhere on it, or use the arrow keys on the handle, whose value is that share.
 */
export function compare({ before, after, alt, names = ["Before", "After"], at = 0 }) {
  let value = at;
  const handle = el("div", {
    class: "compare-line", role: "slider", tabIndex: 0, "aria-label": "Before and after",
    "aria-valuemin": 0, "aria-valuemax": 100, "aria-orientation": "horizontal",
  }, el("span", { class: "compare-grip", "aria-hidden": "true" }));
  const edge = el("span", { class: "compare-edge", "aria-hidden": "true" });
  const [first, second] = names.map((name) => name.toLowerCase());
  const under = el("img", { src: before, alt: "", draggable: false, decoding: "sync" });
  const over = el("img", { src: after, alt, draggable: false, decoding: "sync" });
  const labels = names.map((name, index) =>
    el("span", { class: `compare-name ${index ? "right" : "left"}`, "aria-hidden": "true" }, name));
  const frame = el("div", { class: "compare" }, under, over, ...labels, edge, handle);

  function put(next) {
    value = Math.min(100, Math.max(0, next));
    over.style.setProperty("clip-path", `inset(0 0 0 ${value}%)`);
    edge.style.setProperty("left", `${value}%`);
    // At either end the handle stays where it can be seen and grabbed.
    handle.style.setProperty("left", `clamp(${ROOM}px, ${value}%, 100% - ${ROOM}px)`);
    labels[0].classList.toggle("faded", value < 14);
    labels[1].classList.toggle("faded", value > 86);
    const whole = Math.round(value);
    handle.setAttribute("aria-valuenow", String(whole));
    handle.setAttribute("aria-valuetext", {
      0: `the whole ${second}; move right for the ${first}`,
      100: `the whole ${first}; move left for the ${second}`,
    }[whole] ?? `${whole}% ${first}`);
  }

  function follow(event) {
    const box = frame.getBoundingClientRect();
    put(((event.clientX - box.left) / box.width) * 100);
  }

  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    frame.setPointerCapture(event.pointerId);
    follow(event);
    handle.focus({ preventScroll: true, focusVisible: false });
    event.preventDefault();
  });
  frame.addEventListener("pointermove", (event) => {
    if (frame.hasPointerCapture(event.pointerId)) follow(event);
  });
  handle.addEventListener("keydown", (event) => {
    const to = {
      ArrowLeft: value - 2, ArrowDown: value - 2, ArrowRight: value + 2, ArrowUp: value + 2,
      PageDown: value - 20, PageUp: value + 20, Home: 0, End: 100,
    }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    put(to);
  });
  put(value);
  return frame;
}
