// The layers, the channels of one of them, and the search for classes.
import { write } from "./controls.js";
import { clear, el, uid } from "./dom.js";
import { pictures } from "./units.js";

const MATCHES = 120; // classes that a search lists
const PAGE_ROWS = 4;

/** The detail level that a layer makes up, or the one whose layers are next to it. */
function nearest(layer, layers) {
  const rest = layers.filter((each) => each.level);
  if (layer.level || !rest.length) return layer.level || "";
  const far = (each) => Math.abs(each.depth - layer.depth);
  return rest.reduce((one, other) => (far(other) < far(one) - 1e-6 ? other : one)).level;
}

/** A small picture and its name: one choice of the grid. */
function unit(store, target, caption, note) {
  const picture = el("span", { class: "unit-picture" });
  const button = el(
    "button",
    { type: "button", class: "unit", role: "option", tabindex: "-1", "aria-label": note },
    picture,
    el("span", { class: "unit-name" }, caption),
  );
  button.setAttribute("aria-selected", "false");
  const cell = {
    target,
    button,
    show() {
      const url = store.urls.get(target);
      if (url && !picture.firstChild) picture.append(el("img", { src: url, alt: "" }));
      button.classList.toggle("unit-failed", !url && store.failed.has(target));
    },
  };
  cell.show();
  return cell;
}

/**
 * The layers, the channels of one of them and the search for classes.
 *
 * `chosen(target)` hears what is picked; `taken(target)` what is picked for good (twice, or by
 * Enter on what is picked already).
 */
export function browser(studio, { chosen, taken }) {
  const store = pictures(studio);
  const { layers, levels, classes, class_targets: named } = studio.start;
  let layer =
    layers.findLast((each) => each.level === "patterns") ?? layers[Math.floor(layers.length / 2)];
  let target = null;
  let cells = [];
  let seen = new Set();
  let found = null; // indices of classes, while one is searched for
  const shown = new Set(); // searches whose pictures were asked for

  // Layers: one stop of the Tab key, arrows within.
  const radios = new Map();
  const list = el("div", { class: "layers", role: "radiogroup", "aria-label": "Layer" });
  const groups = [...levels, ""].map((level) => [
    level,
    layers.filter((each) => nearest(each, layers) === level),
  ]);
  for (const [level, members] of groups) {
    if (!members.length) continue;
    const group = el(
      "div",
      { class: "layer-group" },
      el("p", { class: "layer-level" }, level || "the rest"),
    );
    for (const each of members) {
      const radio = el(
        "button",
        {
          type: "button",
          class: "layer",
          role: "radio",
          "aria-label": `${each.name}, ${each.channels} channels`,
          title: each.level ? `${each.name} makes up the level ${each.level}` : null,
          onclick: () => open(each),
        },
        el("span", {}, each.name, each.level ? el("span", { class: "layer-mark" }, " •") : null),
        el("span", { class: "layer-count" }, String(each.channels)),
      );
      radios.set(each.name, radio);
      group.append(radio);
    }
    list.append(group);
  }
  list.addEventListener("keydown", (event) => {
    const order = [...radios.keys()];
    const at = order.findIndex((name) => radios.get(name) === document.activeElement);
    const to = {
      ArrowDown: at + 1,
      ArrowRight: at + 1,
      ArrowUp: at - 1,
      ArrowLeft: at - 1,
      Home: 0,
      End: order.length - 1,
    }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const name = order[(to + order.length) % order.length];
    open(layers.find((each) => each.name === name));
    radios.get(name).focus();
  });

  const search = el("input", {
    id: uid("search"),
    type: "search",
    placeholder: "zebra, cat, tower …",
    autocomplete: "off",
    spellcheck: "false",
  });
  const number = el("input", { id: uid("channel"), type: "number", min: "0", step: "1" });
  const title = el("h3", { class: "units-title" });
  const whole = el("button", { type: "button", class: "button quiet" }, "Whole layer");
  const show = el("button", { type: "button", class: "button" }, "Show what they look like");
  const said = el("p", { class: "hint", "aria-live": "polite" });
  const grid = el("div", { class: "units", role: "listbox" });

  const node = el(
    "div",
    { class: "browser" },
    list,
    el(
      "div",
      { class: "browser-main" },
      el(
        "div",
        { class: "browser-find" },
        el("div", { class: "find" }, el("label", { for: search.id }, "Search classes"), search),
        el("div", { class: "find" }, el("label", { for: number.id }, "Channel"), number),
      ),
      el("div", { class: "units-head" }, title, whole, show),
      said,
      grid,
    ),
  );

  const watcher = new IntersectionObserver((entries) => {
    for (const { target: button, isIntersecting } of entries) {
      const cell = cells.find((each) => each.button === button);
      if (!cell) continue;
      if (isIntersecting && !seen.has(cell)) {
        seen.add(cell);
        store.enter(cell.target);
      } else if (!isIntersecting && seen.has(cell)) {
        seen.delete(cell);
        store.leave(cell.target);
      }
    }
  });

  function empty() {
    watcher.disconnect();
    for (const cell of cells) store.cells.delete(cell);
    for (const cell of seen) store.leave(cell.target);
    seen = new Set();
    cells = [];
    clear(grid);
  }

  function fill(entries, watched) {
    empty();
    // What failed is tried again when it is looked at again.
    for (const [of] of entries) store.failed.delete(of);
    cells = entries.map(([of, caption, note]) => unit(store, of, caption, note));
    for (const cell of cells) {
      store.cells.add(cell);
      cell.button.addEventListener("click", () => {
        if (target === cell.target) taken?.(target);
        else choose(cell.target);
      });
    }
    grid.append(...cells.map((cell) => cell.button));
    grid.scrollTop = 0;
    mark();
    if (watched) for (const cell of cells) watcher.observe(cell.button);
  }

  function mark() {
    let tabbed = cells.find((cell) => cell.target === target) ?? cells[0];
    for (const cell of cells) {
      cell.button.setAttribute("aria-selected", String(cell.target === target));
      cell.button.tabIndex = cell === tabbed ? 0 : -1;
    }
  }

  function choose(of) {
    target = of;
    mark();
    chosen(of);
  }

  /** Show the channels of a layer. */
  function open(to) {
    layer = to;
    found = null;
    search.value = "";
    number.value = "";
    refresh();
  }

  function refresh() {
    for (const [name, radio] of radios) {
      const checked = !found && name === layer.name;
      radio.setAttribute("aria-checked", String(checked));
      radio.tabIndex = name === layer.name ? 0 : -1;
      if (checked) keepInView(radio);
    }
    number.disabled = Boolean(found);
    if (found) number.value = "";
    number.setCustomValidity("");
    number.max = String(layer.channels - 1);
    whole.hidden = Boolean(found) || layer.name === "logits";
    if (found) return;
    show.hidden = true;
    write(said, "");
    title.textContent = `${layer.name}: ${layer.channels} channels`;
    grid.setAttribute("aria-label", `Channels of ${layer.name}`);
    grid.classList.toggle("units-named", layer.name === "logits");
    fill(
      Array.from({ length: layer.channels }, (_, index) =>
        layer.name === "logits" && classes[index]
          ? [named[index], classes[index], classes[index]]
          : [`${layer.name}:${index}`, String(index), `${layer.name}:${index}`],
      ),
      true,
    );
  }

  /** Scroll a layer into view in its strip, never the page. */
  function keepInView(radio) {
    if (list.scrollWidth > list.clientWidth) {
      list.scrollLeft = radio.offsetLeft - list.offsetLeft - list.clientWidth / 2;
    }
  }

  /** List the classes whose names hold all words, those that begin with them first. */
  function seek() {
    const text = search.value.trim().toLowerCase().replaceAll("_", " ");
    if (!text) {
      if (found) open(layer);
      return;
    }
    const words = text.split(/\s+/);
    found = classes
      .map((name, index) => ({ index, name: name.toLowerCase() }))
      .filter(({ name }) => words.every((word) => name.includes(word)))
      .map(({ index, name }) => ({
        index,
        rank: name.startsWith(text) ? 0 : ` ${name}`.includes(` ${words[0]}`) ? 1 : 2,
      }))
      .sort((one, other) => one.rank - other.rank || one.index - other.index)
      .map(({ index }) => index);
    refresh();
    const listed = found.slice(0, MATCHES);
    const count = found.length === 1 ? "1 class" : `${found.length} classes`;
    const asked = search.value.trim();
    title.textContent = found.length ? `${count} for “${asked}”` : "No such class";
    write(
      said,
      found.length
        ? found.length > MATCHES
          ? `The first ${MATCHES} are shown: another word finds fewer.`
          : ""
        : "The network knows 1000 things by name. Try a plainer word: dog, bird, boat, fruit.",
    );
    grid.setAttribute("aria-label", "Classes found");
    grid.classList.add("units-named");
    const missing = listed.some((index) => !store.urls.has(named[index]));
    show.hidden = !missing || shown.has(text);
    fill(
      listed.map((index) => [named[index], classes[index], classes[index]]),
      shown.has(text),
    );
  }

  show.addEventListener("click", () => {
    shown.add(search.value.trim().toLowerCase().replaceAll("_", " "));
    show.hidden = true;
    for (const cell of cells) watcher.observe(cell.button);
    cells[0]?.button.focus();
  });
  search.addEventListener("input", seek);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && search.value) {
      // Of a dialog it would close all of it.
      event.preventDefault();
      event.stopPropagation();
      search.value = "";
      seek();
    } else if (event.key === "ArrowDown" && cells.length) {
      event.preventDefault();
      focus(0);
    }
  });
  number.addEventListener("input", () => {
    const cell = number.value === "" ? null : cells[Number(number.value)];
    number.setCustomValidity(
      number.value !== "" && !cell ? `${layer.name} has 0 to ${layer.channels - 1}` : "",
    );
    if (!cell) return;
    reveal(cell);
    choose(cell.target);
  });
  number.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const at = Number(number.value);
    if (number.value !== "" && cells[at]) focus(at);
    else number.reportValidity();
  });
  whole.addEventListener("click", () => choose(layer.name));

  /** Scroll the grid, not the page. */
  function reveal(cell) {
    const { offsetTop: top, offsetHeight: height } = cell.button;
    const from = top - grid.offsetTop;
    if (from < grid.scrollTop) grid.scrollTop = from;
    else if (from + height > grid.scrollTop + grid.clientHeight) {
      grid.scrollTop = from + height - grid.clientHeight;
    }
  }

  function focus(at) {
    const cell = cells[Math.min(cells.length - 1, Math.max(0, at))];
    for (const each of cells) each.button.tabIndex = each === cell ? 0 : -1;
    cell.button.focus();
  }

  grid.addEventListener("keydown", (event) => {
    const at = cells.findIndex((cell) => cell.button === document.activeElement);
    if (at < 0) return;
    const top = cells[0].button.offsetTop;
    const next = cells.findIndex((cell) => cell.button.offsetTop > top);
    const across = next < 0 ? cells.length : next;
    const last = cells.length - 1;
    const to = {
      ArrowRight: at + 1,
      ArrowLeft: at - 1,
      ArrowDown: at + across <= last ? at + across : at,
      ArrowUp: at - across >= 0 ? at - across : at,
      PageDown: Math.min(last, at + PAGE_ROWS * across),
      PageUp: Math.max(0, at - PAGE_ROWS * across),
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    focus(to);
  });

  /**
   * Show a target where it lies, and pick it; of several terms the first that lies anywhere.
   *
   * A level is no one thing to pick: its layer is shown. Returns whether something was picked.
   */
  function find(wanted) {
    const layerOf = (term) =>
      layers.find((each) => each.name === term.split(":")[0] || each.level === term);
    const term = wanted
      .split(/[+;]| - /)
      .map((each) => each.trim().replace(/^[-\d.]+\s*\*\s*/, ""))
      .find((each) => named.includes(each) || layerOf(each));
    if (!term) return false;
    const to = layerOf(term);
    if (to) {
      open(to);
      if (to.name !== term.split(":")[0]) return false;
    } else {
      search.value = classes[named.indexOf(term)];
      seek();
    }
    choose(term);
    const at = cells.findIndex((each) => each.target === term);
    if (at >= 0) requestAnimationFrame(() => reveal(cells[at]));
    return true;
  }

  /** Put the focus on what is picked. */
  function enter() {
    const at = cells.findIndex((each) => each.target === target);
    if (at >= 0) focus(at);
    else search.focus();
  }

  return { node, open: () => open(layer), find, enter, release: empty, search };
}
