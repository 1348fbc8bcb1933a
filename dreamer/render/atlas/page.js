"use strict";

const NARROW = "(max-width: 900px)";  // no room for a panel beside the tiles: it covers them
const SWIPE = 60;                     // px

const $ = (id) => document.getElementById(id);
const panel = $("panel"), about = $("about"), search = $("search"), title = document.title;
const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const fold = (text) => text.normalize("NFC").toLowerCase();

function make(tag, attributes, ...children) {
  const element = Object.assign(document.createElement(tag), attributes.props);
  for (const name of Object.keys(attributes)) {
    if (name !== "props") element.setAttribute(name, attributes[name]);
  }
  element.append(...children.filter((child) => child !== null));  // text, never markup
  return element;
}

// ---- What there is.

const atlas = JSON.parse($("atlas").textContent);
const layers = JSON.parse($("layers").textContent);
const channels = [];
const byName = new Map();
const classes = new Map();  // folded name -> name
let photographed = false;
for (const layer of layers) {
  for (const channel of layer.channels) {
    Object.assign(channel, { layer, name: `${layer.name}:${channel.number}` });
    channel.classes ??= [];
    channel.photos ??= [];
    photographed ||= channel.photos.length > 0;
    for (const [name] of channel.classes) classes.set(fold(name), name);
    channel.words = fold([
      channel.name, layer.level, ...channel.classes.map(([name]) => name),
      ...channel.photos.map(({ name }) => name),
    ].join("\n"));
    channels.push(channel);
    byName.set(channel.name, channel);
  }
}
const layerNames = new Set(layers.map(({ name }) => fold(name)));

// ---- What is looked at: it lives in the address, "#block8:37?q=tabby", so that links keep it.

const view = { place: "", q: "", face: "", size: "" };
let found = channels;   // the channels that pass the search, in order
let current = null;     // the one in the panel
let active = null;      // the one whose tile the Tab key reaches
let searched = null;

// Of what an address escapes, what layers' names may hold is left as it reads best.
const escaped = (text) => encodeURIComponent(text).replace(/%3A/g, ":").replace(/%2F/g, "/");

function address({ place, ...rest }) {
  const query = new URLSearchParams(Object.entries(rest).filter(([, value]) => value));
  return `#${escaped(place)}${query.size ? `?${query}` : ""}`;
}

function go(changes, { push = false } = {}) {
  const to = address({ ...view, ...changes });
  if (push) history.pushState({ opened: true }, "", to);
  else history.replaceState(history.state, "", to);
  read();
}

function read() {
  const [place, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
  const given = new URLSearchParams(query);
  for (const name of ["q", "face", "size"]) view[name] = given.get(name) ?? "";
  try {
    view.place = decodeURIComponent(place);
  } catch {  // not an address of ours
    view.place = "";
  }
  if (!photographed) view.face = "";
  if (search.value !== view.q) search.value = view.q;
  const size = Number(view.size);
  document.documentElement.style.setProperty("--tile", size >= 40 && size <= 400 ? `${size}px` : "");
  $("rows").value = size || 88;
  const wanted = view.q + "\0" + view.face;
  if (wanted !== searched) {
    searched = wanted;
    find();
  }
  const channel = byName.get(view.place);
  if (channel) show(channel);
  else hide();
  const layer = layers.find(({ name }) => name === view.place);
  if (layer && !layer.section.hidden) layer.section.scrollIntoView();
}

// ---- Search.

function matcher(text) {
  const whole = fold(text.trim());
  if (classes.has(whole)) {
    return (channel) => channel.classes.some(([name]) => fold(name) === whole);
  }
  const words = whole.split(/\s+/).filter(Boolean).map((word) => {
    const [, layer, number] = /^(.+):(\d*)$/.exec(word) ?? [];
    if (layer && number) return ({ name }) => fold(name) === word;
    if (layerNames.has(layer ?? word)) return (channel) => fold(channel.layer.name) === (layer ?? word);
    if (/^\d+$/.test(word)) return (channel) => String(channel.number) === word;
    return (channel) => channel.words.includes(word);
  });
  return (channel) => words.every((word) => word(channel));
}

function find() {
  const matches = matcher(view.q);
  found = channels.filter(matches);
  for (const channel of channels) channel.tile.hidden = true;
  for (const channel of found) {
    channel.tile.hidden = false;
    face(channel);
  }
  for (const layer of layers) {
    const some = layer.channels.some(({ tile }) => !tile.hidden);
    layer.section.hidden = !some;
    layer.link.classList.toggle("none", !some);
  }
  for (const level of document.querySelectorAll(".level")) {
    level.hidden = !level.querySelector(".layer:not([hidden])");
  }
  const all = found.length === channels.length;
  $("shown").textContent = all
    ? count(channels.length, "channel")
    : `${found.length.toLocaleString("en")} of ${count(channels.length, "channel")}`;
  $("shown").classList.toggle("all", all);
  $("nothing").hidden = found.length > 0;
  $("nothing").textContent = channels.length ? "Nothing matches." : "No channel is made yet.";
  for (const button of $("faces").children) {
    button.setAttribute("aria-pressed", button.dataset.face === view.face);
  }
  if (!found.includes(active)) activate(found[0] ?? null);
}

// ---- Tiles.

function face(channel) {
  const link = channel.tile.firstChild, image = link.firstChild;
  const source = view.face ? channel.photos[0]?.url : channel.pictures[0];
  link.classList.toggle("none", !source);
  image.hidden = !source;
  if (source && image.getAttribute("src") !== source) image.setAttribute("src", source);
}

function tile(channel) {
  const feeds = channel.classes.map(([name]) => name).join(", ");
  const image = make("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false" });
  const link = make("a", {
    class: "tile",
    href: address({ place: channel.name }),
    "aria-label": feeds ? `${channel.name}, feeds ${feeds}` : channel.name,
    title: feeds ? `${channel.name}\n${feeds}` : channel.name,
    tabindex: "-1",
  }, image, make("span", { class: "number", "aria-hidden": "true" }, String(channel.number)));
  channel.tile = make("li", { "data-name": channel.name }, link);
  return channel.tile;
}

function described(layer) {
  const made = layer.channels.length;
  const facts = [made === layer.whole ? count(made, "channel") : `${made} of ${count(layer.whole, "channel")}`];
  if (layer.stride) facts.push(`a neuron every ${count(layer.stride, "pixel")}`);
  if (layer.rectified !== null) facts.push(layer.rectified ? "rectified" : "signed");
  return facts.join(" · ");
}

function build() {
  for (const level of atlas.levels) {
    const inside = layers.filter((layer) => layer.level === level.name);
    if (!inside.length) continue;
    const section = make("section", { class: "level", "data-level": level.name },
      make("h2", {},
        make("span", { class: "word" }, level.name),
        make("span", { class: "soft" }, level.about)));
    for (const layer of inside) {
      layer.section = make("section", { class: "layer", "aria-label": layer.name },
        make("h3", {}, make("span", {}, layer.name), make("span", { class: "soft" }, described(layer))),
        make("ul", { class: "tiles", "aria-label": `Channels of ${layer.name}` },
          ...layer.channels.map(tile)));
      layer.link = make("a", {
        href: address({ place: layer.name }), "data-level": layer.level, title: layer.level,
      }, layer.name);
      section.append(layer.section);
      $("contents").append(layer.link);
    }
    $("levels").append(section);
  }
}

function activate(channel) {
  if (active) active.tile.firstChild.tabIndex = -1;
  active = channel;
  if (active) active.tile.firstChild.tabIndex = 0;
}

function focusTile(channel) {
  activate(channel);
  const link = channel.tile.firstChild;
  link.focus({ preventScroll: true });
  reveal(link);
}

// Bring a tile into what is visible of the page: below the tools.
function reveal(link) {
  const box = link.getBoundingClientRect(), top = $("tools").offsetHeight + 8;
  if (box.top < top) scrollBy(0, box.top - top);
  else if (box.bottom > innerHeight - 8) scrollBy(0, box.bottom - innerHeight + 8);
}

// The nearest in the next row, or the one before.
function below(channel, step) {
  const box = (other) => other.tile.getBoundingClientRect();
  const from = box(channel);
  let best = null, row = null;
  for (let at = found.indexOf(channel) + step; found[at]; at += step) {
    const here = box(found[at]);
    if (Math.abs(here.top - from.top) < 4) continue;
    row ??= here.top;
    if (Math.abs(here.top - row) > 4) break;
    if (!best || Math.abs(here.left - from.left) < Math.abs(box(best).left - from.left)) best = found[at];
  }
  return best;
}

function neighbour(channel, key) {
  const at = found.indexOf(channel);
  switch (key) {
    case "ArrowLeft": return found[at - 1];
    case "ArrowRight": return found[at + 1];
    case "ArrowUp": return below(channel, -1);
    case "ArrowDown": return below(channel, 1);
    case "Home": return found[0];
    case "End": return found.at(-1);
  }
}

$("levels").addEventListener("click", (event) => {
  const item = event.target.closest(".tiles li");
  if (!item || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  activate(byName.get(item.dataset.name));
  open(item.dataset.name);
});
$("contents").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link) return;
  event.preventDefault();
  if (link.classList.contains("none")) go({ q: "" });
  layers.find((layer) => layer.link === link).section.scrollIntoView();
});

// ---- The panel.

const narrow = matchMedia(NARROW);

// Opening adds a step to the browser's history, so that its Back closes; closing takes it back.
function open(name) {
  go({ place: name }, { push: !current });
}

function close() {
  if (history.state?.opened) history.back();
  else go({ place: "" });
}

function show(channel) {
  if (!panel.open) {
    const link = channel.tile.firstChild, before = link.getBoundingClientRect().top;
    document.body.classList.add("open");
    // The tile stays where it is, though there is less room beside it.
    if (before > 0 && before < innerHeight) scrollBy(0, link.getBoundingClientRect().top - before);
    if (narrow.matches) panel.showModal();
    else panel.show();
    about.focus({ preventScroll: true });
  }
  if (channel === current) return;
  current?.tile.firstChild.classList.remove("current");
  current = channel;
  const { layer } = channel;
  channel.tile.firstChild.classList.add("current");
  if (!channel.tile.hidden) {
    activate(channel);
    reveal(channel.tile.firstChild);
  }
  document.title = `${channel.name} – ${title}`;
  panel.dataset.level = layer.level;
  $("panel-name").textContent = channel.name;
  $("panel-where").textContent = `${layer.level} · ${atlas.network}`;
  const at = found.indexOf(channel);
  $("place").textContent = at < 0 ? "" : `${at + 1} / ${found.length}`;
  $("previous").disabled = at <= 0;
  $("next").disabled = at < 0 || at === found.length - 1;
  panel.scrollTop = 0;
  about.replaceChildren(sides(channel), ...feeds(channel), ...facts(channel), ...commands(channel));
  if (document.activeElement.matches("body, :disabled")) about.focus({ preventScroll: true });
}

function hide() {
  if (!current) return;
  const last = current;
  current = null;
  last.tile.firstChild.classList.remove("current");
  const before = last.tile.getBoundingClientRect().top;
  panel.close();
  document.body.classList.remove("open");
  about.replaceChildren();
  document.title = title;
  if (last.tile.hidden) return;
  scrollBy(0, last.tile.getBoundingClientRect().top - before);
  focusTile(last);
}

function sides(channel) {
  const large = make("img", { class: "large", src: channel.pictures[0], alt: `What excites ${channel.name}` });
  const left = make("div", {}, make("h3", {}, "Made to excite it"), large);
  if (channel.pictures.length > 1) {
    left.append(make("div", { class: "variants", role: "group", "aria-label": "Variants" },
      ...channel.pictures.map((source, at) => {
        const image = make("img", { src: source, alt: "" });
        const button = make("button", {
          type: "button", "aria-label": `Variant ${at + 1}`, "aria-pressed": at === 0,
        }, image);
        button.onclick = () => {
          large.src = source;
          for (const each of button.parentElement.children) {
            each.setAttribute("aria-pressed", each === button);
          }
          $("score").textContent = channel.scores[at];
        };
        return button;
      })));
  }
  for (const note of channel.notes ?? []) left.append(make("p", { class: "note" }, note));
  const both = make("div", { class: "sides" }, left);
  if (channel.photos.length) {
    both.classList.add("two");
    both.append(make("div", {}, make("h3", {}, "Your photos that excite it most"),
      make("ul", { class: "crops" }, ...channel.photos.map(({ url, name, value }) =>
        make("li", {}, make("figure", {},
          make("img", { src: url, alt: `Part of ${name}` }),
          make("figcaption", { title: name },
            make("span", {}, name), make("span", {}, value.toPrecision(3)))))))));
  }
  return both;
}

function feeds(channel) {
  if (!channel.classes.length) return [];
  if (!channel.layer.stride) return [make("section", {}, make("h3", {}, "The class"), channel.classes[0][0])];
  const most = channel.classes[0][1];
  const rows = channel.classes.map(([name, share]) => {
    const bar = make("span", { class: "share" });
    bar.style.setProperty("--share", `${(100 * share) / most}%`);
    const button = make("button", { type: "button", title: `All channels that feed ${name}` },
      bar, make("span", {}, name), make("span", { class: "soft" }, `+${share.toPrecision(2)}`));
    button.onclick = () => go({ q: name });
    return make("li", {}, button);
  });
  return [make("section", {},
    make("h3", {}, "Classes it feeds: what it adds to their logits on this picture"),
    make("ul", { class: "classes" }, ...rows))];
}

function facts(channel) {
  const { layer } = channel;
  const pairs = [
    ["layer", `${layer.name}, at ${Math.round(100 * layer.depth)}% of the depth`],
    ["channel", `${channel.number}, of 0 to ${layer.whole - 1}`],
    ["score", make("span", { id: "score" }, String(channel.scores[0]))],
  ];
  if (layer.rectified !== null) {
    pairs.push(["values", layer.rectified ? "never below zero" : "signed: above and below zero"]);
  }
  pairs.push(["made with", atlas.facts]);
  return [make("section", {}, make("h3", {}, "Facts"), make("dl", {}, ...pairs.flatMap(
    ([label, value]) => [make("dt", {}, label), make("dd", {}, value)])))];
}

function commands(channel) {
  if (!atlas.commands) return [];
  const flags = atlas.flags ? ` ${atlas.flags}` : "";
  const quoted = /^[\w.:/-]+$/.test(channel.name) ? channel.name : `'${channel.name.replaceAll("'", "'\\''")}'`;
  const lines = [
    ["Dream a photo towards it", `dreamer dream PHOTO --target ${quoted}${flags}`],
    ["Make a larger picture of it", `dreamer visualize ${quoted}${flags}`],
  ];
  return lines.map(([label, line]) => {
    const code = make("code", { class: "command" }, line);
    const button = make("button", { type: "button", "aria-label": `Copy: ${line}` }, "Copy");
    button.onclick = async () => {
      button.textContent = await copied(code) ? "Copied" : "Ctrl+C";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    };
    return make("section", {}, make("h3", {}, label), make("div", { class: "copyable" }, code, button));
  });
}

async function copied(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {  // a browser that keeps the clipboard from files: the text is ready to be copied
    getSelection().selectAllChildren(code);
    return false;
  }
}

function turn(key) {
  const to = neighbour(current, key);
  if (to) go({ place: to.name });
}

$("close").onclick = close;
$("previous").onclick = () => turn("ArrowLeft");
$("next").onclick = () => turn("ArrowRight");
panel.addEventListener("cancel", (event) => {
  event.preventDefault();
  close();
});
narrow.addEventListener("change", () => {
  if (!panel.open) return;
  panel.close();
  if (narrow.matches) panel.showModal();
  else panel.show();
});

let touched = null;
panel.addEventListener("touchstart", ({ touches }) => {
  touched = touches.length === 1 ? [touches[0].clientX, touches[0].clientY] : null;
}, { passive: true });
panel.addEventListener("touchend", ({ changedTouches: [touch] }) => {
  if (!touched) return;
  const across = touch.clientX - touched[0], down = touch.clientY - touched[1];
  touched = null;
  if (Math.abs(across) > SWIPE && Math.abs(across) > 2 * Math.abs(down)) {
    turn(across < 0 ? "ArrowRight" : "ArrowLeft");
  }
}, { passive: true });

// ---- Keys.

const MOVES = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];

function pressed(event) {
  if (MOVES.includes(event.key)) {
    if (current) turn(event.key);
    else if (event.target.closest(".tiles")) {
      const to = neighbour(active, event.key);
      if (to) focusTile(to);
    } else if (event.target === document.body && event.key.startsWith("Arrow") && active
      && !["ArrowUp", "ArrowDown"].includes(event.key)) focusTile(active);
    else return;
  } else if (event.key === "Escape" && current) close();
  else if (event.key === "p" && photographed) go({ face: view.face ? "" : "photos" });
  else if (event.key === "/") search.focus();
  else return;
  event.preventDefault();
}

function searchKey(event) {
  if (event.key === "Enter" && found.length) {
    if (found.length === 1) open(found[0].name);
    else focusTile(found[0]);
  } else if (event.key === "Escape" && !search.value) search.blur();
  else return;
  event.preventDefault();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === search) searchKey(event);
  else if (event.key === "?") $("keys").open ? $("keys").close() : $("keys").showModal();
  else if (!$("keys").open && !event.target.matches("#rows")) pressed(event);
});
$("help").onclick = () => $("keys").showModal();
$("keys").querySelector("button").onclick = () => $("keys").close();

// ---- The head of the page.

build();
const several = layers.filter((layer) => layer.channels.length).length;
$("summary").textContent = `${count(channels.length, "channel")} of ${count(several, "layer")} · ${atlas.facts}`;
$("left").hidden = !atlas.left;
$("left").textContent = `${count(atlas.left, "channel")} to go: run the command again.`;
$("faces").hidden = !photographed;
for (const button of $("faces").children) button.onclick = () => go({ face: button.dataset.face });
$("known").append(...[...layers.map(({ name }) => name), ...[...classes.values()].sort()]
  .map((value) => make("option", { value })));
search.oninput = () => go({ q: search.value });
$("rows").oninput = () => go({ size: $("rows").value });

// Which layer is looked at: the last one that begins above the middle of the window; at the end of
// the page, where no other can come so far, the last.
let marking = 0;
function mark() {
  marking = 0;
  const seen = layers.filter(({ section }) => !section.hidden);
  const ended = scrollY > 0 && scrollY + innerHeight > document.documentElement.scrollHeight - 2;
  const here = ended
    ? seen.at(-1)
    : seen.findLast(({ section }) => section.getBoundingClientRect().top < innerHeight / 2);
  for (const layer of layers) {
    if (layer === (here ?? seen[0])) layer.link.setAttribute("aria-current", "true");
    else layer.link.removeAttribute("aria-current");
  }
}
addEventListener("scroll", () => { marking ||= requestAnimationFrame(mark); }, { passive: true });

addEventListener("popstate", read);
read();
mark();
