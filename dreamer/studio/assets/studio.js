// The shell: tabs, theme, queue, messages, files that come in, and the state that all tabs share.

import { write } from "./controls.js";
import { $, clear, count, el, icon, typing } from "./dom.js";
import { going } from "./jobs.js";
import { known, recall, remember } from "./memory.js";
import { queue } from "./queue.js";
import { Problem, events, get, post, upload } from "./server.js";

const TABS = [
  ["dream", "Dream", () => import("./dream.js")],
  ["zoom", "Zoom", () => import("./zoom.js")],
  ["batch", "Batch", () => import("./batch.js")],
  ["microscope", "Microscope", () => import("./microscope.js")],
];
const NAMES = { sky: "a sky of clouds" }; // of what is painted
const MEMORY = "dreamer.studio";
const THEME = "dreamer.theme";
// Where each kind of job is shown.
const HOME = {
  dream: "dream", preview: "zoom", film: "zoom", batch: "batch", unit: "microscope",
};

/** A look of which nothing is said but the preset. */
function plain(preset = "dream") {
  return {
    preset, from: null, target: null, strength: null, octaves: null, quality: null, color: null,
    blend: null, likeness: null, canvas: null, keep: null, mask: null, guide: null,
  };
}

const listeners = new Map();
const mounted = new Map();
const saved = recall(MEMORY);
let tab = "";
let ready = false;
let resolveResumed;
const resumed = new Promise((resolve) => {
  resolveResumed = resolve;
});

// The settings and the picture shown with them, step by step; `now` is where we are.
const steps = [];
let now = -1;
let merging = { key: "", at: 0 };

const studio = {
  start: null,
  jobs: new Map(),
  made: new Map(),
  photos: new Map(),
  restored: new Map(), // look.from -> Restored
  painted: {}, // what is dreamed on without a photo, by its id
  current: null,
  look: plain(),
  seed: 0,
  size: null,
  shown: "photo",

  get tab() {
    return tab;
  },

  /** Call fn when something happens; returns a function that takes it off. */
  on(name, fn) {
    if (!listeners.has(name)) listeners.set(name, new Set());
    listeners.get(name).add(fn);
    return () => listeners.get(name).delete(fn);
  },

  /** Take a photo, "sky" or "noise" as the one to dream on. */
  use(photo) {
    const current = typeof photo === "string" ? source(photo) : photo;
    if (!current) return;
    if (!studio.painted[current.id]) studio.photos.set(current.id, current);
    let look = studio.look;
    if (look.mask && current.id !== studio.current?.id) look = { ...look, mask: null };
    apply({ current, look, shown: "photo" });
  },

  /** Merge into the look; dials that slide give a key, so that undo takes a whole slide back. */
  change(patch, key = "") {
    const look = { ...studio.look, ...patch };
    const picks = "preset" in patch || "from" in patch;
    apply({ look, ...(picks ? { shown: "draft" } : {}) }, key);
  },

  /** Set seed or size. */
  set(values, key = "") {
    apply(values, key);
  },

  /** Say which picture is shown: "photo", "draft", "job:ID", "made:ID" or "file:ID". */
  show(shown) {
    if (shown === studio.shown) return;
    studio.shown = shown;
    if (now >= 0) steps[now] = { ...steps[now], shown };
    store();
    emit("shown", shown);
  },

  /** Take up settings as they were asked for, and show a picture of them. */
  restore(asked, shown = "draft") {
    const look = { ...plain(asked.look?.from ? null : "dream"), ...known(asked.look, plain(null)) };
    const current = source(asked.photo) ?? studio.current;
    apply({
      look,
      current,
      shown,
      seed: asked.seed ?? 0,
      ...("size" in asked && typeof asked.size !== "string" ? { size: asked.size } : {}),
    });
  },

  get undoable() {
    return now > 0;
  },
  get redoable() {
    return now < steps.length - 1;
  },
  undo() {
    if (studio.undoable) step(-1);
  },
  redo() {
    if (studio.redoable) step(1);
  },

  /** What the look changes, as the dials show it: of its preset, or of the file it is from. */
  base(look = studio.look) {
    if (look.from) {
      const restored = studio.restored.get(look.from) ?? studio.photos.get(look.from)?.restored;
      if (restored) return restored.shown;
    }
    const presets = studio.start.presets;
    const name = look.preset || "dream";
    return (presets.find((preset) => preset.name === name) ?? presets[0]).settings;
  },

  /** The newest job of a kind on a photo that was not in vain. */
  job(kind, photo = studio.current?.id) {
    return [...studio.jobs.values()]
      .filter((job) => job.kind === kind && job.asked?.photo === photo)
      .filter((job) => !["failed", "stopped", "stopping"].includes(job.status))
      .pop();
  },

  /** Ask the server for a job; a Problem is shown, and null returned. */
  async ask(path, body = {}) {
    try {
      const answer = await post(path, body);
      const job = answer?.job ?? null;
      if (job) took(job);
      return job ?? answer;
    } catch (problem) {
      studio.tell(problem);
      return null;
    }
  },

  stop(job) {
    return studio.ask(`/api/jobs/${encodeURIComponent(job.id)}/stop`);
  },

  /**
   * Say something to everyone, by eye and by ear.
   *
   * `act` is a button's text and what it does; `take` a text to be copied by hand. What has either
   * is there until it is dismissed.
   */
  say(text, kind = "", more = "", { act = null, take = null } = {}) {
    const held = document.activeElement;
    const away = () => {
      const inside = toast.contains(document.activeElement);
      toast.remove();
      if (inside) held?.focus?.({ preventScroll: true });
    };
    const close = el("button", {
      class: "button quiet square", type: "button", "aria-label": "Dismiss this message",
      onclick: away,
    }, icon("close"));
    const taken = take !== null && el("textarea", {
      readOnly: true, rows: 4, spellcheck: false, "aria-label": "The text to copy", value: take,
    });
    const stays = Boolean(act || taken);
    const toast = el("div", { class: `toast ${kind}${stays ? " stays" : ""}` },
      el("div", null, el("p", null, text), more && el("p", null, more), taken,
        act && el("button", {
          class: "button", type: "button", onclick: () => {
            away();
            act[1]();
          },
        }, act[0])), close);
    const toasts = $("#toasts");
    if (stays) $(".stays", toasts)?.remove(); // the newer one counts
    for (const other of [...toasts.children]) {
      if (other.firstChild.textContent === toast.firstChild.textContent) other.remove();
    }
    toasts.append(toast);
    while (toasts.children.length > 4) {
      (toasts.querySelector(":scope > :not(.stays)") ?? toasts.firstChild).remove();
    }
    if (!stays) setTimeout(() => toast.remove(), kind === "error" ? 30000 : 6000);
    if (taken) {
      taken.focus();
      taken.select();
    }
  },

  /** Take errors away: what was asked for now is on its way. */
  hush() {
    for (const toast of document.querySelectorAll(".toast.error:not(.stays)")) toast.remove();
  },

  /** Show a Problem; what is none is thrown on. */
  tell(problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 401) stranger(problem);
    studio.say(problem.message, "error", problem.advice);
  },

  async copy(text) {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // A page that is not from this machine has no clipboard: the old way may be open.
      done = copySelected(text);
    }
    if (done) studio.say("Copied.", "", text);
    else studio.say("The browser does not let the page copy. Here it is:", "", "", { take: text });
  },

  async open(name, options = null) {
    await select(name, options);
  },

  /** Pick a channel or a class; a target's text, or null. */
  async picker(options = {}) {
    const { pick } = await import("./microscope.js");
    return pick(studio, options);
  },

  /** Take files as they are dropped, pasted or chosen. */
  async intake(files) {
    const list = [...files];
    if (list.length === 0) return;
    await resumed; // a file may be dropped before the page knows anything
    const takes = mounted.get(tab)?.intake;
    if (takes && (await takes(list))) return;
    let used = null;
    const photos = new Set(); // the very same photo may be given twice
    for (const file of list) {
      const about = list.length > 1 ? `${list.indexOf(file) + 1} of ${list.length}: ` : "";
      if (file.size > studio.start.limits.upload) {
        const most = Math.floor(studio.start.limits.upload / 1e6);
        studio.say(`${file.name} is too large.`, "error", `A file can have ${most} MB.`);
        continue;
      }
      busy(`${about}Reading ${file.name}`);
      try {
        const preset = /\.toml$/i.test(file.name);
        const answer = await upload(file, preset ? "preset" : "photo");
        if (answer.preset) tookPreset(answer.preset);
        else if (answer.restored ?? answer.file?.restored) takeUp(answer);
        else {
          studio.photos.set(answer.file.id, answer.file);
          photos.add(answer.file.id);
          if (!used) {
            used = answer.file;
            studio.use(used);
            for (const note of used.notes ?? []) studio.say(note);
          }
        }
      } catch (problem) {
        studio.tell(problem);
      }
    }
    busy("");
    if (photos.size > 1) {
      studio.say(`${count(photos.size, "photo")} are here. The first is shown; `
        + "Batch dreams on all of them.", "", "", {
        act: ["Open them in Batch", () => studio.open("batch", { photos: [...photos] })],
      });
    }
  },

  /** Let the user choose files; a list, empty if none. */
  choose(accept = studio.start.accept, multiple = true) {
    const chooser = $("#chooser");
    chooser.accept = accept;
    chooser.multiple = multiple;
    chooser.value = "";
    return new Promise((resolve) => {
      chooser.onchange = () => resolve([...chooser.files]);
      chooser.oncancel = () => resolve([]);
      chooser.click();
    });
  },
};

/** Copy a text by selecting it, as pages did before there was a clipboard; whether it is done. */
function copySelected(text) {
  const held = document.activeElement;
  const field = el("textarea", {
    class: "visually-hidden", readOnly: true, tabIndex: -1, value: text,
  });
  // Outside of a dialog that is open nothing can be selected.
  ($("dialog[open]") ?? document.body).append(field);
  field.focus({ preventScroll: true });
  field.select();
  let done = false;
  try {
    done = document.execCommand("copy");
  } catch {
    // Not allowed either.
  }
  field.remove();
  held?.focus?.({ preventScroll: true });
  return done;
}

/** What is dreamed on, by its id. */
function source(id) {
  return studio.painted[id] ?? studio.photos.get(id) ?? null;
}

function emit(name, ...details) {
  for (const fn of [...(listeners.get(name) ?? [])]) fn(...details);
}

// Settings, with undo

function apply(values, key = "") {
  const before = studio.current?.id;
  const was = studio.shown;
  Object.assign(studio, values);
  const entry = {
    current: studio.current, look: studio.look, seed: studio.seed, size: studio.size,
    shown: studio.shown,
  };
  const time = Date.now();
  const merges = key && merging.key === key && time - merging.at < 1500 && now === steps.length - 1;
  merging = { key, at: time };
  if (merges) steps[now] = entry;
  else {
    steps.splice(now + 1, Infinity, entry);
    if (steps.length > 200) steps.shift();
    now = steps.length - 1;
  }
  store();
  tellAll(before, was);
}

function step(by) {
  const before = studio.current?.id;
  const was = studio.shown;
  now += by;
  merging = { key: "", at: 0 };
  Object.assign(studio, steps[now]);
  store();
  tellAll(before, was);
}

function tellAll(before, was) {
  if (studio.current?.id !== before) emit("current", studio.current);
  emit("look", studio.look);
  if (studio.shown !== was) emit("shown", studio.shown);
}

function store() {
  if (!ready) return;
  remember(MEMORY, {
    photo: studio.current?.id ?? null, look: studio.look, seed: studio.seed, size: studio.size,
    shown: studio.shown, tab, folded: $("#queue").classList.contains("folded"),
    restored: studio.look.from ? studio.restored.get(studio.look.from) ?? null : null,
  });
}

// Files that bring their settings

function tookPreset(preset) {
  const presets = studio.start.presets.filter((other) => other.name !== preset.name);
  studio.start.presets = [...presets, preset].sort((a, b) => a.name.localeCompare(b.name));
  emit("presets");
  studio.change({ preset: preset.name, from: null, target: null });
  studio.say(`The preset ${preset.name} is here now.`);
}

function takeUp({ file, restored = file?.restored }) {
  const asked = restored.asked ?? {};
  if (file) studio.photos.set(file.id, file);
  if (asked.look?.from) studio.restored.set(asked.look.from, restored);
  const missing = restored.missing ?? [];
  const them = missing.length === 1 ? "it" : "them";
  studio.say(restored.said, "", missing.length
    ? `Not here any more: ${missing.join(", ")}. Drop ${them} as well to have the same again.`
    : "");
  if (restored.kind === "zoom") studio.open("zoom", { asked });
  else if (restored.kind === "visual") studio.open("microscope", { asked });
  else {
    studio.open("dream");
    // Without its photo, a look is for the photo in use; without any, for the picture itself.
    if (!source(asked.photo) && !studio.current && file) studio.use(file);
    studio.restore(asked, file ? `file:${file.id}` : "draft");
  }
}

// Tabs

function buildTabs() {
  const bar = $("#tabs");
  const main = $("#main");
  clear(main);
  for (const [name, title] of TABS) {
    bar.append(el("button", {
      class: "tab", type: "button", role: "tab", id: `tab-${name}`,
      "aria-controls": `panel-${name}`, "aria-selected": "false", tabIndex: -1,
      onclick: () => select(name),
    }, title));
    main.append(el("section", {
      id: `panel-${name}`, role: "tabpanel", "aria-labelledby": `tab-${name}`,
      class: `panel-${name}`, hidden: true,
    }));
  }
  bar.addEventListener("keydown", (event) => {
    const at = TABS.findIndex(([name]) => name === tab);
    const to = {
      ArrowRight: (at + 1) % TABS.length, ArrowLeft: (at + TABS.length - 1) % TABS.length,
      Home: 0, End: TABS.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    select(TABS[to][0]);
    $(`#tab-${TABS[to][0]}`).focus();
  });
  addEventListener("hashchange", () => {
    const name = location.hash.slice(1);
    if (name !== tab && TABS.some(([other]) => other === name)) select(name);
  });
}

async function select(wanted, options = null) {
  const found = TABS.find(([name]) => name === wanted) ?? TABS[0];
  const [name, title, load] = found;
  tab = name;
  for (const [other] of TABS) {
    $(`#tab-${other}`).setAttribute("aria-selected", String(other === name));
    $(`#tab-${other}`).tabIndex = other === name ? 0 : -1;
    $(`#panel-${other}`).hidden = other !== name;
  }
  document.title = `${title} · dreamer studio`;
  if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
  store();
  const panel = $(`#panel-${name}`);
  if (!mounted.has(name)) {
    mounted.set(name, {});
    try {
      // A tab may be chosen before the page knows anything.
      const [module] = await Promise.all([load(), resumed]);
      clear(panel);
      mounted.set(name, module.mount(panel, studio) ?? {});
    } catch (error) {
      mounted.delete(name);
      const what = `This part of the studio did not load: ${error.message}`;
      clear(panel, el("p", { class: "error" }, what));
      console.error(error);
      return;
    }
  }
  if (options) mounted.get(name).open?.(options);
  if (tab === name) emit("tab", name, options);
}

// Theme

function buildTheme() {
  const order = ["system", "light", "dark"];
  let theme = recall(THEME).theme ?? "system";
  const button = $("#theme");
  function put() {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const name = `Theme: ${theme === "system" ? "as the system" : theme}`;
    button.setAttribute("aria-label", name);
    button.title = name;
    clear(button, icon(theme));
  }
  button.addEventListener("click", () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    remember(THEME, { theme });
    put();
  });
  put();
}

// What the server tells

function took(job) {
  const before = studio.jobs.get(job.id);
  // The answer to a request may come after the news of what became of it.
  if (before && !going(before) && going(job)) return;
  studio.jobs.set(job.id, job);
  emit("job", job);
  if (before && going(before) && !going(job)) ended(job);
}

/** Say what became of a job to who looks at another tab. */
function ended(job) {
  if (job.status === "done" && job.notes?.some((note) => /\bhere already\b/.test(note))) {
    studio.say("It is there already, with this very recipe.");
    return;
  }
  const home = HOME[job.kind];
  if (!home || tab === home) return;
  const title = TABS.find(([name]) => name === home)[1];
  if (job.status === "failed") {
    studio.say(`${job.title}: ${job.error?.message ?? "it failed."}`, "error", job.error?.advice);
  } else if (job.made?.length) studio.say(`${job.title}: it is there, under ${title}.`);
}

let unknown = false; // whether the studio has said that it does not know this page

/** Say that the studio answers, but not to this page: to connect again does not help. */
function stranger(problem) {
  unknown = true;
  const lost = $("#lost");
  lost.hidden = false;
  // Of the two reasons, only a token that is missing is not found by loading the page again.
  write(lost, /token/.test(problem.message)
    ? `${problem.message} ${problem.advice}`
    : "The studio does not know this page any more: load it again.");
}

/** Ask why the connection was lost: it does not tell by itself. */
async function wonder() {
  try {
    await get("/api/start");
  } catch (problem) {
    if (problem.status === 401) stranger(problem);
  }
}

function listen() {
  const lost = $("#lost");
  events({
    open: () => {
      unknown = false;
      if (!lost.hidden) studio.say("The studio answers again.");
      lost.hidden = true;
    },
    lost: () => {
      if (unknown) return;
      wonder();
      lost.hidden = false;
      write(lost,
        "The studio does not answer just now. Nothing is lost: the page connects again by itself. "
        + "If the studio was closed, start `dreamer studio` again.");
    },
    state: (state) => {
      const before = { jobs: studio.jobs, made: studio.made };
      studio.jobs = new Map(state.jobs.map((job) => [job.id, job]));
      studio.made = new Map(state.made.map((made) => [made.id, made]));
      studio.photos = new Map(state.photos.map((photo) => [photo.id, photo]));
      const first = !ready;
      if (first) resume();
      else check();
      emit("state", state);
      if (!first) catchUp(before);
    },
    job: took,
    made: (made) => {
      studio.made.set(made.id, made);
      emit("made", made);
    },
    photo: (photo) => {
      studio.photos.set(photo.id, photo);
      emit("photo", photo);
    },
    gone: ({ job = null, made = null }) => {
      if (job) studio.jobs.delete(job);
      if (made) {
        studio.made.delete(made);
        if (studio.shown === `made:${made}`) studio.show("draft");
      }
      emit("gone", { job, made });
    },
  });
}

/** Tell of what happened while the page was not connected, as if it happened now. */
function catchUp(before) {
  for (const made of studio.made.values()) if (!before.made.has(made.id)) emit("made", made);
  for (const job of studio.jobs.values()) {
    const was = before.jobs.get(job.id);
    if (was && !going(was)) continue;
    emit("job", job);
    if (was && !going(job)) ended(job);
  }
}

/** Take up what was in use when the page was left, as far as it is still there. */
function resume() {
  const look = { ...plain(null), ...known(saved.look, plain(null)) };
  const there = (id) => !id || studio.photos.has(id);
  if (saved.restored && look.from) studio.restored.set(look.from, saved.restored);
  if (look.from && !there(look.from) && !saved.restored) look.from = null;
  if (!look.from && !studio.start.presets.some((preset) => preset.name === look.preset)) {
    look.preset = "dream";
  }
  if (!there(look.mask?.photo)) look.mask = null;
  if (!there(look.guide?.photo)) look.guide = null;
  const { share } = studio.start.ranges;
  if (look.guide && !(look.guide.weight >= share.least && look.guide.weight <= share.most)) {
    look.guide = { ...look.guide, weight: share.usual };
  }
  const current = source(saved.photo);
  const [kind, id] = String(saved.shown ?? "photo").split(/:(.*)/s);
  const those = { job: studio.jobs, made: studio.made, file: studio.photos }[kind];
  const shown = !those || those.has(id) ? saved.shown ?? "photo" : "draft";
  ready = true;
  apply({
    current, look, shown, seed: saved.seed ?? 0,
    size: saved.size === undefined ? studio.start.size : saved.size,
  });
  resolveResumed();
  select(location.hash.slice(1) || saved.tab || "dream");
}

/** After the connection was lost: the studio may be another one, that does not know our files. */
function check() {
  const { current, look } = studio;
  if (current && !studio.painted[current.id] && !studio.photos.has(current.id)) {
    studio.say("The studio was started anew, and has no photo of yours yet: give it again.");
    const kept = { ...look, mask: null, guide: null, from: null };
    apply({ current: null, look: kept, shown: "photo" });
  }
}

// Files from outside

function busy(text) {
  let node = $("#busy");
  if (!text) node?.remove();
  else {
    if (!node) {
      node = el("div", { class: "toast", id: "busy" }, el("p"));
      $("#toasts").append(node);
    }
    write(node.firstChild, `${text} ...`);
  }
}

function buildDrop() {
  const zone = $("#drop");
  const files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const over = (by) => {
    depth = by === 0 ? 0 : Math.max(0, depth + by);
    zone.hidden = depth === 0 || Boolean($("dialog[open]"));
    document.body.classList.toggle("dragging", !zone.hidden);
  };
  addEventListener("dragenter", (event) => files(event) && over(1));
  addEventListener("dragleave", (event) => files(event) && over(-1));
  addEventListener("dragover", (event) => {
    if (files(event)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    over(0);
    // A place of its own on the page, such as the guide's, has taken it already.
    if (event.defaultPrevented || !files(event)) return;
    event.preventDefault();
    if (!$("dialog[open]")) studio.intake(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    if (pasted.length === 0 || event.defaultPrevented || $("dialog[open]")) return;
    event.preventDefault();
    studio.intake(pasted);
  });
}

function buildKeys() {
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || typing() || $("dialog[open]")) return;
    const key = event.key.toLowerCase();
    if (key === "z" || (key === "y" && !event.shiftKey)) {
      event.preventDefault();
      if (key === "y" || event.shiftKey) studio.redo();
      else studio.undo();
    }
  });
}

async function begin() {
  buildTheme();
  buildTabs();
  queue($("#queue"), studio, saved.folded ?? null, store);
  buildDrop();
  buildKeys();
  for (;;) {
    try {
      studio.start = await get("/api/start");
      break;
    } catch (problem) {
      const lost = $("#lost");
      lost.hidden = false;
      if (problem.status === 401) stranger(problem);
      else write(lost, `${problem.message} ${problem.advice ?? ""}`);
      await new Promise((resolve) => setTimeout(resolve, 3000));
    }
  }
  $("#lost").hidden = true;
  studio.size = studio.start.size;
  for (const [id, [width, height]] of Object.entries(studio.start.made_up)) {
    studio.painted[id] = { id, name: NAMES[id] ?? id, url: null, width, height };
  }
  listen();
}

begin();
