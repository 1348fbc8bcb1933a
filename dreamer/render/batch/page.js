"use strict";

const PHONE = 560;          // px: narrower grids have two columns
const THUMBNAIL = 420;      // px: larger tiles show the preview instead
const GAP = 12;
const CAPTION = 46;         // px: the two lines under a tile, with the gap to the next row
const LISTED = 100;         // failed or waiting items that are listed before "Show all"
const RELOAD = 30_000;      // ms

const $ = (id) => document.getElementById(id);
const grid = $("grid"), viewer = $("viewer"), stage = $("stage"), picture = $("picture");
const search = $("search"), slider = $("split"), title = document.title;
const number = (count) => count.toLocaleString("en");
const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

const entries = JSON.parse($("entries").textContent);
const byId = new Map(entries.map((entry) => [entry.id, entry]));
const presets = [...new Set(entries.map((entry) => entry.preset))].sort();
const totals = { done: 0, failed: 0, waiting: 0 };
for (const entry of entries) {
  totals[entry.status] += 1;
  const slash = entry.name.lastIndexOf("/") + 1;
  entry.file = entry.name.slice(slash);
  entry.where = [entry.name.slice(0, Math.max(0, slash - 1)), entry.preset]
    .filter(Boolean).join(" · ");
  entry.words = fold(entry.name);
}

function fold(text) {
  return text.normalize("NFC").toLowerCase();
}

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);  // strings become text, never markup
  return element;
}

// ---- What is looked at: it lives in the address, so that reloads and links keep it.

const view = { q: "", preset: "", status: "", rows: "", reload: "", open: "" };
let pictures = [];  // the done entries that pass the filters, in order
let filtered = null, sized = "";  // what the grid was last filtered and sized by

function go(changes, { push = false } = {}) {
  const set = Object.entries({ ...view, ...changes }).filter(([, value]) => value);
  const address = set.length ? `#${new URLSearchParams(set)}` : location.pathname + location.search;
  if (push) history.pushState({ ...history.state, opened: true }, "", address);
  else history.replaceState(history.state, "", address);
  read();
}

function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(view)) view[name] = given.get(name) ?? "";
  if (!presets.includes(view.preset)) view.preset = "";
  if (!totals[view.status]) view.status = "";
  view.open = byId.get(view.open)?.status === "done" ? view.open : "";
  if (search.value !== view.q) search.value = view.q;
  $("preset").value = view.preset;
  $("reload").checked = Boolean(view.reload);
  for (const button of $("statuses").children) {
    button.setAttribute("aria-pressed", button.dataset.status === view.status);
  }
  const wanted = JSON.stringify([view.q, view.preset, view.status]);
  if (wanted !== filtered) {
    filter();
    const above = grid.getBoundingClientRect().top - $("tools").offsetHeight - GAP;
    if (filtered !== null && above < 0) scrollBy(0, above);
  }
  filtered = wanted;
  if (view.rows !== sized) settle();
  if (view.open) show(byId.get(view.open));
  else hide();
}

function filter() {
  const words = fold(view.q).split(/\s+/).filter(Boolean);
  const found = { done: [], failed: [], waiting: [] };
  for (const entry of entries) {
    entry.box = null;
    if (view.preset && entry.preset !== view.preset) continue;
    if (view.status && entry.status !== view.status) continue;
    if (words.every((word) => entry.words.includes(word))) found[entry.status].push(entry);
  }
  pictures = found.done;
  const count = pictures.length + found.failed.length + found.waiting.length;
  const all = count === entries.length;
  $("shown").textContent = all
    ? counted(count, "item")
    : `${number(count)} of ${counted(entries.length, "item")}`;
  $("shown").classList.toggle("all", all);
  $("nothing").hidden = count > 0;
  $("nothing").textContent = entries.length
    ? "Nothing matches the filter."
    : "Nothing has been dreamed here yet.";
  list("failed", found.failed, (entry) => [
    make("div", { class: "name" }, entry.name),
    make("div", { class: "where" }, entry.preset),
    make("p", { class: "reason" }, entry.error ?? "No reason was given."),
  ]);
  list("waiting", found.waiting, (entry) => [
    make("span", { class: "name", title: entry.name }, entry.file),
    make("span", { class: "where" }, entry.where),
  ]);
  place();
}

function list(id, items, describe, limit = LISTED) {
  $(id).hidden = items.length === 0;
  $(id).querySelector("h2").textContent = `${number(items.length)} ${id}`;
  const rows = items.slice(0, limit).map((entry) => make("li", {}, ...describe(entry)));
  $(id).querySelector(".rows").replaceChildren(...rows);
  const more = $(id).querySelector(".more");
  more.hidden = items.length <= limit;
  more.textContent = `Show all ${number(items.length)}`;
  more.onclick = () => list(id, items, describe, Infinity);
}

// ---- The grid: every tile has its place from the start, only those near the window exist.

const tiles = new Map();
let active = null;  // the entry whose tile the Tab key reaches

function ratio(entry, least, most) {
  const [width, height] = entry.size ?? [4, 3];
  return Math.min(most, Math.max(least, width / height));
}

// Lay the tiles out anew, with the first one in the window where it is.
function settle() {
  const kept = anchor();
  place();
  if (kept) scrollToAnchor(kept);
}

function place() {
  const width = grid.clientWidth;
  const few = totals.done <= 6 ? 360 : totals.done <= 30 ? 280 : 220;
  const height = Math.min(480, Math.max(120, Number(view.rows) || few));
  $("rows").value = height;
  sized = view.rows;
  grid.style.height = `${width < PHONE ? columns(width) : rows(width, height)}px`;
  if (!active?.box) active = pictures[0] ?? null;
  draw();
}

function rows(width, wanted) {
  let top = 0;
  for (let first = 0; first < pictures.length;) {
    let end = first, sum = 0;
    while (end < pictures.length && sum * wanted + GAP * (end - first - 1) < width) {
      sum += ratio(pictures[end++], 0.4, 3);
    }
    const fitting = (width - GAP * (end - first - 1)) / sum;
    const height = Math.min(wanted, fitting);
    let left = 0;
    for (; first < end; first++) {
      const across = ratio(pictures[first], 0.4, 3) * height;
      pictures[first].box = { left, top, width: across, height, index: first };
      left += across + GAP;
    }
    top += height + CAPTION + GAP;
  }
  return top;
}

function columns(width) {
  const across = (width - GAP) / 2, bottoms = [0, 0];
  pictures.forEach((entry, index) => {
    const column = bottoms[0] <= bottoms[1] ? 0 : 1;
    const height = across / ratio(entry, 0.5, 2.2);
    const top = bottoms[column];
    entry.box = { left: column * (across + GAP), top, width: across, height, index };
    bottoms[column] += height + CAPTION + GAP / 2;
  });
  return Math.max(...bottoms);
}

function draw() {
  const top = -grid.getBoundingClientRect().top, high = innerHeight;
  const near = ({ box }) => box.top < top + 2 * high && box.top + box.height > top - high;
  const visible = ({ box }) => box.top < top + high - 40 && box.top + box.height > top + 60;
  const focused = grid.contains(document.activeElement);
  if (active?.box && !focused && !visible(active)) active = pictures.find(visible) ?? active;
  const wanted = pictures.filter((entry) => entry === active || near(entry));
  const kept = new Set(wanted);
  for (const [entry, tile] of tiles) {
    if (!kept.has(entry)) {
      tile.remove();
      tiles.delete(entry);
    }
  }
  let next = grid.firstChild;  // tiles are put between, never moved: moving one loses its focus
  for (const entry of wanted) {
    const tile = tiles.get(entry) ?? build(entry);
    if (tile === next) next = next.nextSibling;
    else grid.insertBefore(tile, next);
    fit(tile, entry);
  }
}

function build(entry) {
  const link = make("a", { class: "tile", href: `#open=${entry.id}` },
    make("span", { class: "box" }),
    make("span", { class: "name", title: entry.name }, entry.file),
    make("span", { class: "where" }, entry.where));
  link.setAttribute("aria-label", `${entry.name}, ${entry.preset}`);
  const tile = make("li", { "data-id": entry.id }, link);
  tiles.set(entry, tile);
  return tile;
}

function fit(tile, entry) {
  const { left, top, width, height, index } = entry.box;
  const link = tile.firstChild, box = link.firstChild;
  link.tabIndex = entry === active ? 0 : -1;
  tile.setAttribute("aria-posinset", index + 1);
  tile.setAttribute("aria-setsize", pictures.length);
  Object.assign(tile.style, { left: `${left}px`, top: `${top}px`, width: `${width}px` });
  box.style.height = `${height}px`;
  const large = Math.max(width, height) > THUMBNAIL;
  const sources = large ? [entry.after, entry.thumbnail] : [entry.thumbnail, entry.after];
  if (box.dataset.source !== String(sources)) {
    box.dataset.source = sources;
    load(sources, "", (image) => box.replaceChildren(image ?? "No preview"));
  }
}

// Hand the first of the sources that there is to `put`, now; if it does not load, the next; then
// null.
function load(sources, kind, put) {
  const [source, ...others] = sources.filter(Boolean);
  if (!source) return put(null);
  const image = make("img", { class: kind, alt: "", draggable: "false", decoding: "async" });
  image.onerror = () => load(others, kind, put);
  image.setAttribute("src", source);
  put(image);
}

function focusTile(entry) {
  if (!entry?.box) return;
  active = entry;
  const top = grid.getBoundingClientRect().top + entry.box.top;
  const bottom = top + entry.box.height + CAPTION;
  const room = $("tools").offsetHeight + GAP;
  if (top < room) scrollBy(0, top - room);
  else if (bottom > innerHeight) scrollBy(0, Math.min(bottom - innerHeight, top - room));
  draw();
  tiles.get(entry).firstChild.focus({ preventScroll: true });
}

function neighbour(entry, key) {
  const { box } = entry;
  if (key === "Home") return pictures[0];
  if (key === "End") return pictures.at(-1);
  if (key === "ArrowLeft") return pictures[box.index - 1];
  if (key === "ArrowRight") return pictures[box.index + 1];
  const middle = ({ left, width }) => left + width / 2;
  let best = null, least = Infinity;
  for (const other of pictures) {
    const away = key === "ArrowUp"
      ? box.top - other.box.top - other.box.height
      : other.box.top - box.top - box.height;
    const cost = away + Math.abs(middle(other.box) - middle(box));
    if (away > 0 && cost < least) [best, least] = [other, cost];
  }
  return best;
}

grid.addEventListener("click", (event) => {
  const tile = event.target.closest("li");
  if (!tile || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go({ open: tile.dataset.id }, { push: true });
});

// ---- The viewer.

let current = null;
let position = 50;      // percent of the picture, from the left, that shows the photo
let compared = 50;      // where the divider was before it was moved aside
let peeking = false;
let preloaded = [];
let gesture = null;

// What is turned through: what the filters show, or everything from a picture they do not.
const sequence = () => (pictures.includes(current)
  ? pictures
  : entries.filter(({ status }) => status === "done"));
const sliding = () => picture.classList.contains("sliding");

function show(entry) {
  if (!viewer.open) {
    viewer.showModal();
    stage.focus();
  }
  if (entry === current) return;
  current = entry;
  document.title = `${entry.file} – ${title}`;
  $("viewer-name").textContent = entry.file;
  $("viewer-where").textContent = entry.where;
  const all = sequence(), index = all.indexOf(entry);
  $("place").textContent = `${number(index + 1)} / ${number(all.length)}`;
  $("previous").disabled = index === 0;
  $("next").disabled = index === all.length - 1;
  layers(entry);
  describe(entry);
  preloaded = [all[index + 1], all[index - 1]].flatMap((near) => [near?.after, near?.before])
    .filter(Boolean).map((source) => Object.assign(new Image(), { src: source }));
  viewer.scrollTop = $("details").scrollTop = 0;
  if (document.activeElement.matches("body, :disabled, [hidden]")) stage.focus();
}

function layers(entry) {
  const holder = $("layers");
  const [width, height] = entry.size ?? [4, 3];
  picture.style.setProperty("--ratio", width / height);
  picture.style.setProperty("--most", entry.size ? `${2 * width}px` : "100cqw");
  holder.replaceChildren();
  compare(Boolean(entry.before && (entry.after || entry.thumbnail)));
  if (entry.thumbnail) load([entry.thumbnail], "rough", (image) => image && holder.prepend(image));
  load([entry.after, entry.thumbnail], "after", (image) => {
    holder.querySelector(".after, .gone")?.remove();
    if (!image) {
      compare(false);
      const said = entry.after ? "The picture is not where it was." : "No preview: open the file.";
      image = make("span", { class: "gone after" }, said);
    } else if (!entry.size) {
      image.onload = () =>
        picture.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
    }
    holder.append(image);
  });
  if (!sliding()) return;
  load([entry.before], "before", (image) => {
    if (image) holder.append(image);
    else compare(false);
  });
}

function compare(possible) {
  picture.classList.toggle("sliding", possible);
  for (const id of ["split", "divider", "handle", "photo", "dream"]) {
    $(id).toggleAttribute("hidden", !possible);
  }
  for (const button of $("controls").children) button.hidden = !possible;
  if (!possible) $("layers").querySelector(".before")?.remove();
  slide(position);
}

function slide(to) {
  position = Math.min(100, Math.max(0, to));
  if (position > 0 && position < 100) compared = position;
  const split = peeking ? 100 : position;
  slider.value = split;
  slider.setAttribute("aria-valuetext", `${Math.round(split)} percent photo`);
  picture.style.setProperty("--split", `${split}%`);
  $("photo").style.opacity = split > 12 ? 1 : 0;
  $("dream").style.opacity = split < 88 ? 1 : 0;
  $("only-photo").setAttribute("aria-pressed", split === 100);
  $("both").setAttribute("aria-pressed", split > 0 && split < 100);
  $("only-dream").setAttribute("aria-pressed", split === 0);
}

function describe(entry) {
  const parts = [];
  if (entry.link) {
    parts.push(
      make("a", {
        class: "button", id: "full", href: entry.link, target: "_blank", rel: "noopener",
      }, "Open full size ↗"),
      make("p", { class: "where" }, entry.output));
  }
  if (entry.film) {
    parts.push(make("p", {}, make("a", {
      id: "film", href: entry.film, target: "_blank", rel: "noopener",
    }, "film")));
  }
  const facts = new Map([["photo", entry.name], ["preset", entry.preset], ...(entry.facts ?? [])]);
  if (entry.size && !facts.has("size")) facts.set("size", `${entry.size.join(" × ")} px`);
  const pairs = [...facts].flatMap(([label, value]) =>
    [make("dt", {}, label), make("dd", {}, value)]);
  parts.push(make("dl", {}, ...pairs));
  if (entry.notes) {
    const notes = entry.notes.map((note) => make("li", {}, note));
    parts.push(make("h3", {}, "Notes"), make("ul", { class: "notes" }, ...notes));
  }
  if (entry.command) {
    const code = make("code", { class: "command" }, entry.command);
    const button = make("button", { type: "button", id: "copy" }, "Copy");
    button.onclick = () => copy(code, button);
    parts.push(make("h3", {}, "Make it again, in this folder"), code, button);
  }
  $("details").replaceChildren(...parts);
}

async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {  // some browsers keep the clipboard from pages that are files
    getSelection().selectAllChildren(code);
    button.textContent = "Selected: copy it with Ctrl+C";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

function hide() {
  if (!current) return;
  const last = current;
  current = null;
  peeking = false;
  preloaded = [];
  document.title = title;
  viewer.close();
  $("layers").replaceChildren();
  focusTile(last);
}

// Opening added a step to the browser's history, so that its Back closes, on phones above all;
// closing takes that step back. A page that was opened at a picture has no such step.
function close() {
  if (history.state?.opened) history.back();
  else go({ open: "" });
}

function turn(by) {
  const all = sequence(), entry = all[all.indexOf(current) + by];
  if (entry) go({ open: entry.id });
}

function peek(on) {
  peeking = on && sliding();
  slide(position);
}

viewer.addEventListener("cancel", (event) => {
  event.preventDefault();
  close();
});
viewer.addEventListener("close", () => { if (current) close(); });
$("close").onclick = close;
$("previous").onclick = () => turn(-1);
$("next").onclick = () => turn(1);
$("only-photo").onclick = () => slide(100);
$("both").onclick = () => slide(compared);
$("only-dream").onclick = () => slide(0);
$("wide").onclick = () => viewer.classList.toggle("wide");
slider.oninput = () => slide(Number(slider.value));

stage.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !event.isPrimary) return endGesture();
  const box = picture.getBoundingClientRect();
  const fromDivider = event.clientX - box.left - (box.width * position) / 100;
  const near = Math.abs(fromDivider) < 40;
  const touch = event.pointerType === "touch";
  if (sliding() && (near || (!touch && picture.contains(event.target)))) {
    gesture = { slide: true, grab: near ? fromDivider : 0 };
  } else if (touch) gesture = { slide: false };
  else return;
  Object.assign(gesture, { x: event.clientX, by: 0 });
  stage.setPointerCapture(event.pointerId);
  drag(event);
});

function drag(event) {
  if (!gesture) return;
  const box = picture.getBoundingClientRect();
  gesture.by = event.clientX - gesture.x;
  if (gesture.slide) slide((100 * (event.clientX - gesture.grab - box.left)) / box.width);
  else picture.style.translate = `${gesture.by}px`;
}

function endGesture() {
  const far = gesture && !gesture.slide && Math.abs(gesture.by) > 60;
  const swiped = far ? -Math.sign(gesture.by) : 0;
  gesture = null;
  picture.style.translate = "";
  return swiped;
}

stage.addEventListener("pointermove", drag);
stage.addEventListener("pointercancel", endGesture);
stage.addEventListener("pointerup", () => {
  const swiped = endGesture();
  if (swiped) turn(swiped);
});

// ---- Keys.

const MOVES = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];

function gridKey(event) {
  const tile = event.target.closest("#grid li");
  const sideways = ["ArrowLeft", "ArrowRight"].includes(event.key);
  if (event.key === "/") search.focus();
  else if (tile && event.key === " ") event.target.click();
  else if (tile && MOVES.includes(event.key)) {
    focusTile(neighbour(byId.get(tile.dataset.id), event.key));
  } else if (event.target === document.body && sideways) focusTile(active);
  else return;
  event.preventDefault();
}

function viewerKey(event) {
  const on = event.target;
  if (event.key === "b") slide(position === 100 ? compared : 100);
  else if (event.key === "i") viewer.classList.toggle("wide");
  else if (event.key === " " && !on.matches("button, a")) peek(true);
  else if (event.key === "ArrowLeft" && on !== slider) turn(-1);
  else if (event.key === "ArrowRight" && on !== slider) turn(1);
  else return;
  event.preventDefault();
}

function searchKey(event) {
  if (["Enter", "ArrowDown"].includes(event.key)) focusTile(pictures[0]);
  else if (event.key === "Escape" && !search.value) search.blur();
  else return;
  event.preventDefault();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === search) return searchKey(event);
  if (event.key === "?") return $("keys").open ? $("keys").close() : $("keys").showModal();
  if ($("keys").open || event.target.matches("select, #tools input")) return;
  if (viewer.open) viewerKey(event);
  else gridKey(event);
});
document.addEventListener("keyup", (event) => { if (peeking && event.key === " ") peek(false); });
addEventListener("blur", () => { if (peeking) peek(false); });
$("help").onclick = $("viewer-help").onclick = () => $("keys").showModal();
$("keys").querySelector("button").onclick = () => $("keys").close();

// ---- Scrolling, and where it was before a reload.

function anchor() {
  const top = -grid.getBoundingClientRect().top;
  const held = history.state?.anchor, box = byId.get(held?.id)?.box;
  if (box && Math.abs(box.top - top - held.by) < 1) return held;  // or reloads would add up
  const first = top > 0 && pictures.find(({ box }) => box.top + box.height > top);
  return first ? { id: first.id, by: first.box.top - top } : null;
}

function scrollToAnchor({ id, by }) {
  const box = byId.get(id)?.box;
  if (box) scrollBy(0, grid.getBoundingClientRect().top + box.top - by);
}

function remember() {
  history.replaceState({ ...history.state, anchor: anchor(), y: scrollY }, "");
}

function restore() {
  const saved = history.state ?? {};
  if (saved.anchor) scrollToAnchor(saved.anchor);
  else if (saved.y) scrollTo(0, saved.y);
}

let drawing = 0, remembering = 0;
addEventListener("scroll", () => {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    draw();
  });
  clearTimeout(remembering);
  remembering = setTimeout(remember, 150);
}, { passive: true });
history.scrollRestoration = "manual";

// ---- The head of the page.

const summary = [totals.done ? counted(totals.done, "picture") : "No pictures"];
if (presets.length > 1) summary.push(counted(presets.length, "preset"));
$("summary").textContent = entries.length ? summary.join(" · ") : "";
$("tools").hidden = entries.length === 0;
$("preset").hidden = presets.length < 2;
$("preset").append(...presets.map((name) => make("option", { value: name }, name)));
if (totals.failed || totals.waiting) {
  const statuses = ["", "done", "failed", "waiting"].filter((name) => !name || totals[name]);
  $("statuses").append(...statuses.map((name) => {
    const label = name ? `${number(totals[name])} ${name}` : "All";
    const button = make("button", { type: "button", "data-status": name }, label);
    button.onclick = () => go({ status: name });
    return button;
  }));
}
$("statuses").hidden = !$("statuses").firstChild;
$("reloading").hidden = $("progress").hidden = totals.waiting === 0;
const share = (totals.done + totals.failed) / entries.length;
$("progress").firstElementChild.style.width = `${100 * share}%`;
search.oninput = () => go({ q: search.value });
$("preset").onchange = () => go({ preset: $("preset").value });
$("rows").oninput = () => go({ rows: $("rows").value });
$("reload").onchange = () => go({ reload: $("reload").checked ? "1" : "" });
$("sizing").hidden = totals.done === 0;
if (totals.waiting) {
  setInterval(() => {
    const busy = document.hidden || viewer.open || document.activeElement === search;
    if (view.reload && !busy) location.reload();
  }, RELOAD);
}

addEventListener("popstate", read);
read();
restore();
new ResizeObserver(settle).observe(grid);
