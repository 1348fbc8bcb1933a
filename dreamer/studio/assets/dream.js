// The Dream tab: a photo, all presets on it, the dream as it grows, and what one takes away.

import { beginnings, write } from "./controls.js";
import { clear, el, icon, uid } from "./dom.js";
import { Problem, upload } from "./server.js";
import { doing, going, tookTime, waiting } from "./jobs.js";
import { compare } from "./compare.js";
import { dials, touched, turned } from "./dials.js";
import { tinted } from "./mask.js";

// By these names a computer knows itself.
const HERE = ["localhost", "127.0.0.1", "[::1]"];

/** Build the tab into root. */
export function mount(root, studio) {
  root.classList.add("dream");
  const welcome = empty(studio);
  const stage = picture(studio);
  const presets = strip(studio);
  const earlier = shelf(studio);
  const settings = el("aside", { class: "dials card", "aria-label": "Dials" });
  const main = el("div", { class: "dream-main" },
    photoBar(studio), stage, presets, earlier);
  const work = el("div", { class: "dream-work" }, main, settings);
  root.append(welcome, work);
  dials(settings, studio);

  function update() {
    welcome.hidden = Boolean(studio.current);
    work.hidden = !studio.current;
    // Earlier dreams are there before the next photo is.
    const home = studio.current ? main : root;
    if (earlier.parentNode !== home) home.append(earlier);
    if (studio.current) askStrip(studio);
  }
  studio.on("current", update);
  studio.on("state", update);
  studio.on("tab", (name) => name === "dream" && update());
  addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    if (root.hidden || !studio.current || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    // What is being typed counts as said.
    const held = document.activeElement;
    held?.blur?.();
    held?.focus?.({ preventScroll: true });
    dream(studio);
  });
  update();
}

/** The picture of what is dreamed on, or a field that stands for what is painted first. */
function preview(photo, alt = "") {
  if (photo?.url) return el("img", { src: photo.url, alt, draggable: false });
  return el("span", {
    class: `blank painted ${photo?.id ?? ""}`, role: alt ? "img" : null, "aria-label": alt || null,
  });
}

const halted = new Set(); // the strips that were stopped for another photo's

/** All presets on the photo, unless they are there or on their way. */
function askStrip(studio) {
  const photo = studio.current.id;
  const strips = [...studio.jobs.values()].filter((job) => job.kind === "strip");
  // One looks at one photo at a time: what another one still waits for can be asked for again.
  for (const job of strips) {
    if (job.asked?.photo === photo || !going(job) || job.status === "stopping") continue;
    halted.add(job.id);
    studio.stop(job);
  }
  const asked = strips.some((job) => job.asked?.photo === photo && !halted.has(job.id));
  if (asked || askStrip.photo === photo) return;
  askStrip.photo = photo; // not twice while the first answer is on its way
  studio.ask("/api/strip", { photo, seed: 0 }).then(() => {
    askStrip.photo = null;
  });
}

/** The strip of the photo; of one that was stopped, there is what was made until then. */
function stripOf(studio) {
  const photo = studio.current?.id;
  return studio.job("strip") ?? [...studio.jobs.values()].findLast(
    (job) => job.kind === "strip" && job.asked?.photo === photo && job.result,
  );
}

function draftOf(studio, preset) {
  const drafts = stripOf(studio)?.result?.drafts ?? [];
  return drafts.find((draft) => draft.preset === preset)?.url ?? null;
}

async function dream(studio) {
  const { current, look, size, seed } = studio;
  if (!current) return;
  const job = await studio.ask("/api/dream", { photo: current.id, look, size, seed });
  if (!job) return;
  studio.show(`job:${job.id}`);
  studio.hush();
}

function shownJob(studio) {
  const [kind, id] = studio.shown.split(":");
  return kind === "job" ? studio.jobs.get(id) ?? null : null;
}

function shownMade(studio) {
  const [kind, id] = studio.shown.split(":");
  return kind === "made" ? studio.made.get(id) ?? null : null;
}

// Without a photo

function empty(studio) {
  const photos = el("div", { class: "welcome-photos" });
  const buttons = beginnings(studio, true);
  buttons[1].classList.add("tall");
  function update() {
    const given = [...studio.photos.values()].filter((photo) => photo.as === "photo").slice(-8);
    clear(photos, given.length > 0 && [
      el("p", { class: "hint" }, "Or go on with one of these:"),
      el("div", { class: "row" }, given.reverse().map((photo) => el("button", {
        class: "thumb", type: "button", onclick: () => studio.use(photo), title: photo.name,
        "aria-label": `Dream on ${photo.name}`,
      }, preview(photo)))),
    ]);
  }
  for (const name of ["photo", "state", "current"]) studio.on(name, update);
  update();
  return el("div", { class: "welcome" },
    el("div", { class: "welcome-eye", "aria-hidden": "true" },
      el("span", null, el("img", { src: "/assets/icon.svg", alt: "", decoding: "sync" }))),
    el("h2", null, touched() ? "Begin with a photo" : "Drop a photo here"),
    el("p", null, "See every preset on it in seconds, choose one, and watch the dream grow."),
    el("div", { class: "row" }, buttons),
    el("p", { class: "hint" },
      !touched() && [
        "Pasting works as well (", el("kbd", null, "Ctrl"), " ", el("kbd", null, "V"), "). ",
      ],
      "A dream of yours brings its settings back. ",
      HERE.includes(location.hostname)
        ? "Nothing leaves this computer."
        : "What you give goes to the computer that runs this studio, and no further."),
    photos);
}

// Above the stage: the photo in use, undo and redo

function photoBar(studio) {
  const what = el("div", { class: "photo-chip" });
  const undo = el("button", {
    class: "button quiet square", type: "button", "aria-label": "Undo", title: "Undo (Ctrl+Z)",
    "aria-keyshortcuts": "Control+Z", onclick: () => studio.undo(),
  }, icon("undo"));
  const redo = el("button", {
    class: "button quiet square", type: "button", "aria-label": "Redo",
    title: "Redo (Ctrl+Shift+Z)", "aria-keyshortcuts": "Control+Shift+Z",
    onclick: () => studio.redo(),
  }, icon("redo"));
  function update() {
    const photo = studio.current;
    if (!photo) return;
    undo.setAttribute("aria-disabled", String(!studio.undoable));
    redo.setAttribute("aria-disabled", String(!studio.redoable));
    const others = [...studio.photos.values()].filter((each) => each.as === "photo");
    if (!others.some((each) => each.id === photo.id)) others.push(photo);
    others.push(...Object.values(studio.painted).filter((each) => each.id !== photo.id));
    const key = [photo.id, ...others.map((each) => each.id)].join("|");
    if (what.dataset.key === key) return;
    what.dataset.key = key;
    const held = what.contains(document.activeElement);
    const choice = el("select", {
      class: "photo-choice", "aria-label": "Photo", onchange: () => studio.use(choice.value),
    }, others.map((each) => el("option", { value: each.id }, each.name)));
    choice.value = photo.id;
    clear(what,
      el("button", {
        class: "photo-mini", type: "button", "aria-label": `Show the photo ${photo.name}`,
        title: "Show the photo", onclick: () => studio.show("photo"),
      }, preview(photo)),
      el("div", null, choice,
        photo.url && el("span", { class: "hint" }, `${photo.width} × ${photo.height}`)));
    if (held) choice.focus();
  }
  for (const name of ["look", "current", "photo", "state"]) studio.on(name, update);
  update();
  const buttons = beginnings(studio, false);
  for (const button of buttons) button.classList.add("quiet");
  return el("div", { class: "photo-bar" }, what,
    el("div", { class: "row photo-starts" }, buttons), el("span", { class: "bar" }),
    el("div", { class: "row photo-steps" }, undo, redo));
}

// The stage

function picture(studio) {
  const frame = el("div", { class: "stage-frame" });
  const title = el("p", { class: "stage-title", role: "status" });
  const tools = el("div", { class: "row stage-tools" });
  const below = el("div", { class: "stack tight stage-below" });
  const node = el("figure", { class: "stage", "aria-label": "The picture" },
    el("div", { class: "stage-box" }, frame),
    el("figcaption", null, actions(studio, title), tools), below);
  let drawn = "";
  let wanted = null; // the newest frame of a growing dream
  let loading = false;

  function shape(width, height) {
    frame.style.setProperty("--ratio", String(width / height || 1.5));
  }

  /** Show something when it is loaded, in the place of what was shown until then. */
  function put(content, width, height, then = null) {
    const key = drawn;
    const images = content.matches("img") ? [content] : [...content.querySelectorAll("img")];
    Promise.allSettled(images.map((image) => image.decode())).then(() => {
      if (drawn !== key || frame.dataset.url) return;
      shape(width, height);
      clear(frame, content);
      then?.();
    });
  }

  function overlay() {
    const { mask } = studio.look;
    const file = mask && studio.photos.get(mask.photo);
    if (!file) return;
    const key = drawn;
    tinted(file.url, mask.invert).then((canvas) => {
      if (drawn !== key) return;
      canvas.className = "stage-mask";
      canvas.setAttribute("aria-hidden", "true");
      frame.append(canvas);
    }, () => {}); // a mask that cannot be shown is still on its chip
  }

  /** Put the next frame in when it is loaded, so that nothing flickers. */
  function grow() {
    if (loading || !wanted || frame.dataset.url === wanted) return;
    loading = true;
    const url = wanted;
    const key = drawn;
    const next = el("img", { src: url, alt: "The dream as it grows", draggable: false });
    next.decode().then(() => {
      if (drawn === key) {
        frame.dataset.url = url;
        shape(studio.current.width, studio.current.height);
        clear(frame, next);
      }
    }, () => {}).finally(() => {
      loading = false;
      grow();
    });
  }

  function update() {
    const photo = studio.current;
    if (!photo) return;
    const made = shownMade(studio);
    const job = shownJob(studio);
    if (job && !going(job)) return settle(job);
    const { look } = studio;
    const preset = look.preset || (look.from ? null : "dream");
    const draft = draftOf(studio, preset);
    const [kind, id] = studio.shown.split(":");
    const file = kind === "file" ? studio.photos.get(id) : null;
    const still = made || file || kind === "photo" ? kind : job ? "job" : "draft";
    const key = [still, id, photo.id, still === "draft" ? draft : "", still === "job" ? draft : "",
      JSON.stringify(look.mask)].join("|");
    if (key !== drawn) {
      drawn = key;
      delete frame.dataset.url;
      wanted = null;
      if (tools.contains(document.activeElement)) node.querySelector(".button.main").focus();
      clear(tools);
      clear(below);
      node.dataset.kind = still;
      if (made) showMade(made);
      else if (file) {
        put(preview(file, `The picture ${file.name}`), file.width, file.height);
        write(title, `${file.name}: its settings are taken up`);
      } else {
        const url = still === "photo" ? null : draft;
        put(url
          ? el("img", { src: url, alt: `A draft of the preset ${preset}`, draggable: false })
          : preview(photo, `The photo ${photo.name}`),
        photo.width, photo.height, still === "job" ? null : overlay);
        if (still === "photo") write(title, photo.url ? "The photo" : photo.name);
      }
    }
    if (still === "draft") {
      const more = turned(look);
      const coming = going(studio.job("strip") ?? { status: "done" });
      let name = "The photo, before its dream";
      if (draft) {
        name = `A small draft of ${preset}; the larger the dream, the finer the detail`;
      } else if (!coming) name = `${preset ?? "Your look"}, not dreamed yet`;
      else if (preset) name = `${preset}: its draft is on its way`;
      write(title, `${name}${more ? `. Not in it yet: ${more}` : ""}`);
    }
    if (made) write(title, titleOf(made));
    if (job?.frame) {
      wanted = job.frame;
      grow();
    }
  }

  /** A job that has ended gives its place to what it made, or says why there is nothing. */
  function settle(job) {
    const made = studio.made.get(job.made?.[0]);
    if (made) return studio.show(`made:${made.id}`);
    if (job.status === "done") return; // what it made is about to be told
    studio.show("draft");
    if (job.status === "failed" && job.error) {
      const { message, advice } = job.error;
      clear(below, el("p", { class: "error" }, el("b", null, message), " ", advice));
    }
  }

  function titleOf(made) {
    const facts = [`${made.width} × ${made.height}`, made.seconds && tookTime(made.seconds)];
    return `${made.name}: ${facts.filter(Boolean).join(", ")}`
      + (made.partial ? ", stopped before its end" : "")
      + (said(made.asked ?? {}) === said(studio) ? "" : ", before you changed the settings");
  }

  function showMade(made) {
    const of = studio.photos.get(made.photo);
    const alt = `The dream ${made.name}`;
    put(of?.url
      ? compare({ before: of.url, after: made.url, alt, names: ["Photo", "Dream"] })
      : el("img", { src: made.url, alt, draggable: false }), made.width, made.height);
    const place = uid("place");
    const where = el("p", { class: "note", id: place, hidden: true },
      (made.files ?? []).map((path) => el("code", null, path)));
    const placeButton = el("button", {
      class: "button", type: "button", "aria-expanded": "false", "aria-controls": place,
      onclick: () => {
        where.hidden = !where.hidden;
        placeButton.setAttribute("aria-expanded", String(!where.hidden));
      },
    }, icon("folder"), "Show the file's place");
    const use = el("button", {
      class: "button", type: "button", title: "Dream on the dream",
      onclick: () => useMade(studio, made, use),
    }, icon("again"), "Use as photo");
    clear(tools,
      el("a", {
        class: "button", href: `${made.url}?download=1`, download: made.name,
      }, icon("download"), "Download"),
      el("button", {
        class: "button", type: "button", title: made.command,
        onclick: () => studio.copy(made.command),
      }, icon("copy"), "Copy command"),
      use,
      el("button", {
        class: "button", type: "button", onclick: () => studio.open("zoom"),
      }, icon("zoom"), "Zoom into it"),
      made.files?.length > 0 && placeButton);
    clear(below, where, (made.notes ?? []).map((note) => el("p", { class: "note" }, note)));
  }

  for (const name of ["look", "current", "shown", "job", "made", "state", "photo", "gone"]) {
    studio.on(name, update);
  }
  update();
  return node;
}

/** Look, size and seed as text, the same for the same dream: null and missing say the same. */
function said({ look, size, seed }) {
  const plain = (value) => {
    if (value === null || typeof value !== "object" || Array.isArray(value)) return value ?? null;
    const entries = Object.entries(value).filter(([, each]) => (each ?? null) !== null);
    return entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, each]) => [key, plain(each)]);
  };
  const preset = look?.preset ?? (look?.from ? null : "dream");
  return JSON.stringify([plain({ ...look, preset }), size ?? null, seed ?? 0]);
}

/** Take a dream as the photo of the next one. */
async function useMade(studio, made, button) {
  button.disabled = true;
  try {
    const response = await fetch(made.url);
    if (!response.ok) throw new Problem("The dream is not there any more.", "Dream it again.");
    const { file } = await upload(new File([await response.blob()], made.name), "photo");
    studio.photos.set(file.id, file);
    studio.use(file);
    studio.say(`Now dreaming on ${made.name}.`);
  } catch (problem) {
    studio.tell(problem);
  }
  button.disabled = false;
}

// The strip

function strip(studio) {
  const heading = uid("presets");
  const list = el("div", { class: "strip", role: "radiogroup", "aria-labelledby": heading });
  const about = el("p", { class: "strip-about hint" });
  const state = el("span", { class: "hint" });
  const again = el("button", {
    class: "link", type: "button", hidden: true, onclick: () => {
      studio.ask("/api/strip", { photo: studio.current.id, seed: 0 });
    },
  }, "Ask for the drafts again");
  const all = el("button", {
    class: "link", type: "button", "aria-expanded": "false", onclick: () => {
      const wraps = list.classList.toggle("wraps");
      all.setAttribute("aria-expanded", String(wraps));
      all.textContent = wraps ? "In one row" : "Show all";
      if (!wraps) reach();
    },
  }, "Show all");
  const from = el("p", { class: "chip strip-from", hidden: true });
  const thumbs = new Map();
  let built = "";
  let focused = "";

  const picked = () => (studio.look.from ? "" : studio.look.preset || "dream");
  const pick = (name) => studio.change({ preset: name, from: null, target: null });

  function build() {
    const { presets } = studio.start;
    const key = `${studio.current?.id}|${presets.map((preset) => preset.name).join("|")}`;
    if (key === built) return;
    built = key;
    const held = list.contains(document.activeElement) ? document.activeElement.dataset.preset : "";
    thumbs.clear();
    clear(list, presets.map((preset) => {
      const shown = el("span", { class: "blank" }, preview(studio.current));
      const thumb = el("button", {
        class: "thumb", type: "button", role: "radio", "aria-checked": "false", tabIndex: -1,
        dataset: { preset: preset.name }, title: preset.description,
        "aria-label": preset.name, "aria-description": preset.description,
        onclick: () => {
          focused = preset.name;
          pick(preset.name);
        },
        onfocus: () => tell(preset.name), onblur: () => tell(""),
        onpointerenter: () => tell(preset.name), onpointerleave: () => tell(""),
      }, shown, el("span", null, preset.name));
      thumbs.set(preset.name, { thumb, shown, url: "", why: "" });
      return thumb;
    }));
    if (held) thumbs.get(held)?.thumb.focus();
    focused = "";
    requestAnimationFrame(reach);
  }

  /** One line on the preset that is looked at, or else on the one that is picked. */
  function tell(name) {
    const preset = studio.start.presets.find((each) => each.name === (name || picked()));
    const why = preset && thumbs.get(preset.name)?.why;
    about.textContent = why || (preset?.description ?? "");
  }

  function reach() {
    const thumb = thumbs.get(picked())?.thumb;
    if (!thumb || list.classList.contains("wraps")) return;
    const { offsetLeft, offsetWidth } = thumb;
    const { scrollLeft, clientWidth } = list;
    if (offsetLeft < scrollLeft || offsetLeft + offsetWidth > scrollLeft + clientWidth) {
      list.scrollLeft = offsetLeft - (clientWidth - offsetWidth) / 2;
    }
  }

  let last = "";
  function update() {
    if (!studio.current) return;
    build();
    const job = stripOf(studio);
    const drafts = new Map((job?.result?.drafts ?? []).map((draft) => [draft.preset, draft.url]));
    const failed = new Map((job?.result?.failed ?? []).map((each) => [each.preset, each.why]));
    const now = picked();
    for (const [name, it] of thumbs) {
      const url = drafts.get(name) ?? "";
      if (url !== it.url) {
        it.url = url;
        if (url) {
          const image = el("img", { src: url, alt: "", draggable: false, class: "arrives" });
          image.decode().catch(() => {}).then(() => {
            if (it.url === url) it.shown.replaceChildren(image);
          });
        } else clear(it.shown, preview(studio.current));
      }
      it.why = failed.get(name) ?? "";
      it.thumb.classList.toggle("waits", !url);
      it.thumb.classList.toggle("failed", Boolean(it.why));
      it.thumb.setAttribute("aria-checked", String(name === now));
      it.thumb.tabIndex = name === (focused || now || studio.start.presets[0].name) ? 0 : -1;
    }
    let text = "";
    if (job?.status === "waiting") text = waiting(job);
    else if (job && going(job)) text = `${drafts.size} of ${thumbs.size} drafts`;
    write(state, text);
    again.hidden = Boolean(studio.job("strip")) || askStrip.photo === studio.current.id;
    const restored = studio.look.from
      && (studio.restored.get(studio.look.from) ?? studio.photos.get(studio.look.from)?.restored);
    from.hidden = !studio.look.from;
    if (studio.look.from) {
      clear(from, el("span", null, restored?.said ?? "The settings of a picture of yours"),
        el("button", {
          class: "button quiet square", type: "button", "aria-label": "Leave these settings",
          onclick: () => pick("dream"),
        }, icon("close")));
    }
    if (now !== last) {
      last = now;
      reach();
    }
    tell(list.contains(document.activeElement) ? document.activeElement.dataset.preset : "");
  }

  list.addEventListener("keydown", (event) => {
    const names = [...thumbs.keys()];
    const at = names.indexOf(document.activeElement?.dataset.preset);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    // In rows, up and down go to the row above and below.
    const tops = names.map((name) => thumbs.get(name).thumb.offsetTop);
    const across = Math.max(1, tops.filter((top) => top === tops[0]).length);
    const down = list.classList.contains("wraps") ? across : 1;
    const to = {
      ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + down, ArrowUp: at - down,
      Home: 0, End: names.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0 || to >= names.length) return;
    focused = names[to];
    for (const [name, it] of thumbs) it.thumb.tabIndex = name === focused ? 0 : -1;
    thumbs.get(focused).thumb.focus();
  });
  list.addEventListener("focusout", (event) => {
    // Who comes back by Tab comes back to what is picked.
    if (list.contains(event.relatedTarget)) return;
    focused = "";
    update();
  });
  for (const name of ["look", "current", "state", "presets", "gone"]) studio.on(name, update);
  studio.on("job", (job) => job.kind === "strip" && update());
  update();
  return el("section", { class: "presets", "aria-labelledby": heading },
    el("div", { class: "row" }, el("h2", { id: heading }, "Presets"), state,
      el("span", { class: "push" }), again, all),
    from, list, about);
}

// Dream, and stop

function actions(studio, title) {
  const go = el("button", {
    class: "button main", type: "button", "aria-keyshortcuts": "Control+Enter",
    title: "Dream (Ctrl+Enter)", onclick: () => dream(studio),
  }, "Dream");
  const text = el("span", { class: "going-text" });
  const bar = el("progress", { class: "progress", max: 1, "aria-label": "Progress of the dream" });
  const stop = el("button", {
    class: "button", type: "button", onclick: () => job() && studio.stop(job()),
  }, icon("stop"), el("span", null, "Stop and keep"));
  const run = el("div", { class: "going" }, el("div", null, text, bar), stop);

  function job() {
    const shown = shownJob(studio);
    if (shown && going(shown)) return shown;
    return [...studio.jobs.values()].find((it) => it.kind === "dream" && going(it)) ?? null;
  }
  function update() {
    const now = job();
    if (!now && run.contains(document.activeElement)) go.focus();
    run.hidden = !now;
    title.hidden = Boolean(now) && now === shownJob(studio);
    if (!now) return;
    const stopping = now.status === "stopping";
    write(text, stopping ? "Stopping, and keeping what there is" : doing(now));
    bar.value = now.share ?? 0;
    stop.disabled = stopping;
    write(stop.lastChild, now.status === "waiting" ? "Do not dream it" : "Stop and keep");
  }
  studio.on("job", (it) => it.kind === "dream" && update());
  for (const name of ["shown", "state", "gone"]) studio.on(name, update);
  update();
  return el("div", { class: "actions" }, go, title, run);
}

// Earlier dreams

function shelf(studio) {
  const heading = uid("earlier");
  const list = el("div", { class: "earlier-list" });
  const node = el("section", { class: "earlier", "aria-labelledby": heading },
    el("h2", { id: heading }, "Earlier dreams"), list);
  const thumbs = new Map();
  function update() {
    const dreams = [...studio.made.values()].filter((made) => made.kind === "dream");
    node.hidden = dreams.length === 0;
    for (const [id, thumb] of thumbs) {
      if (studio.made.has(id)) continue;
      thumb.remove();
      thumbs.delete(id);
    }
    for (const made of dreams) {
      if (!thumbs.has(made.id)) {
        const seed = made.asked?.seed ? `, seed ${made.asked.seed}` : "";
        const thumb = el("button", {
          class: "thumb", type: "button", title: `${made.name}${seed}`, "aria-pressed": "false",
          "aria-label": `Show ${made.name}${seed}, with its settings`,
          onclick: () => {
            studio.restore(made.asked, `made:${made.id}`);
            document.querySelector(".stage").scrollIntoView({ block: "nearest" });
          },
        },
        made.thumb
          ? el("img", { src: made.thumb, alt: "", loading: "lazy" })
          : el("span", { class: "blank" }),
        el("span", null, made.name));
        thumbs.set(made.id, thumb);
        list.prepend(thumb);
      }
      const shown = studio.shown === `made:${made.id}`;
      thumbs.get(made.id).setAttribute("aria-pressed", String(shown));
    }
  }
  for (const name of ["made", "state", "shown", "look", "gone"]) studio.on(name, update);
  studio.on("made", (made) => {
    // A dream that was left for another one ends unseen.
    const seen = studio.shown === `made:${made.id}` || [...studio.jobs.values()].some(
      (job) => studio.shown === `job:${job.id}` && (going(job) || job.made?.includes(made.id)),
    );
    if (made.kind === "dream" && studio.tab === "dream" && !seen) {
      studio.say(`${made.name} is done: it is under Earlier dreams.`);
    }
  });
  update();
  return node;
}
