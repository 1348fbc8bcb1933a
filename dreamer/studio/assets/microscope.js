// The tab Microscope, and the dialog that picks a channel or class.
import { browser } from "./browser.js";
import { write } from "./controls.js";
import { clear, el, uid } from "./dom.js";
import { doing, failure, going } from "./jobs.js";
import { meaning, pictures } from "./units.js";

// The dials' words for what moves; here no photo is there whose waves they could be.
const CANVASES = { fourier: "Waves", maco: "Natural waves", pixel: "Pixels" };

/** What the mark beside some layers says. */
function marks(studio) {
  return el(
    "p",
    { class: "hint" },
    `A layer with a • makes up the level it stands under: ${studio.start.levels.join(", ")}.`,
  );
}

/** Write a word as the shell of this machine needs it: that of Windows knows no single quotes. */
function quoted(word) {
  if (/^[\w:.,@=/-]+$/.test(word)) return word;
  const system = navigator.userAgentData?.platform ?? navigator.platform ?? "";
  if (/^win/i.test(system)) return `"${word.replaceAll('"', '\\"')}"`;
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/**
 * Pick a channel, a layer or a class from pictures, in a modal dialog.
 *
 * @param {object} studio the shared state
 * @param {{title?: string, start?: string}} options what the dialog is called; what is picked first
 * @returns {Promise<string|null>} a target's text, or null if nothing was picked
 */
export function pick(studio, options = {}) {
  return new Promise((resolve) => {
    let target = null;
    const name = el("span", { class: "pick-name" }, "Nothing picked yet");
    const use = el("button", { type: "button", class: "button main" }, "Use it");
    use.disabled = true;
    const finish = (value) => {
      dialog.returnValue = value ?? "";
      dialog.close();
    };
    const view = browser(studio, {
      chosen(of) {
        target = of;
        use.disabled = false;
        use.textContent = `Use ${of}`;
        name.textContent = meaning(studio, of);
      },
      taken: finish,
    });
    use.addEventListener("click", () => finish(target));
    const dialog = el(
      "dialog",
      { class: "picker", "aria-labelledby": "picker-title" },
      el(
        "div",
        { class: "picker-inner" },
        el("h2", { id: "picker-title" }, options.title ?? "Pick a channel or class"),
        marks(studio),
        view.node,
        el(
          "div",
          { class: "picker-foot" },
          name,
          el(
            "button",
            { type: "button", class: "button", onclick: () => finish(null) },
            "Cancel",
          ),
          use,
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      view.release();
      dialog.remove();
      resolve(dialog.returnValue || null);
    });
    document.body.append(dialog);
    dialog.showModal();
    view.open();
    if (options.start && view.find(options.start)) view.enter();
    else view.search.focus();
  });
}

/** The chosen unit: what it looks for, and what can be done with it. */
function detail(studio) {
  const store = pictures(studio);
  let target = null;
  let asked = null; // the painting's job

  const stage = el("div", { class: "unit-stage" });
  const name = el("h3", { class: "unit-target" });
  const text = el("p", { class: "hint" });
  const progress = el("progress", { class: "progress", max: "1", "aria-label": "Painting" });
  const line = el("p", { class: "hint" });
  const stop = el("button", { type: "button", class: "button" }, "Stop");
  const running = el("div", { class: "unit-running stack" }, progress, line, stop);
  const problem = el("p", { class: "error", role: "alert" });
  const notes = el("p", { class: "note" });
  const download = el("a", { class: "button", download: "" }, "Download");
  const canvas = el("select", { id: uid("canvas") });
  for (const [each, word] of Object.entries(CANVASES)) {
    if (studio.start.choices.canvas.includes(each)) {
      canvas.append(el("option", { value: each }, word));
    }
  }
  const dream = el("button", { type: "button", class: "button main" }, "Dream with it");
  const paint = el("button", { type: "button", class: "button" }, "Paint it large");
  const add = el("button", { type: "button", class: "button" }, "Add to the target");
  const copy = el("button", { type: "button", class: "button" }, "Copy command");
  const body = el(
    "div",
    { class: "stack" },
    stage,
    el("div", {}, name, text),
    running,
    problem,
    notes,
    dream,
    add,
    el("div", { class: "row unit-paint" }, el("label", { for: canvas.id }, "What moves"), canvas),
    paint,
    el("div", { class: "row" }, copy, download),
  );
  const none = el(
    "p",
    { class: "hint" },
    "Each small picture is what one channel of the network looks for. Choose one to dream with it.",
  );
  const node = el("section", { class: "card unit-detail", "aria-label": "Chosen" }, none, body);

  const made = () =>
    [...studio.made.values()].findLast(
      (each) => each.kind === "unit" && each.asked?.target === target,
    );

  function draw() {
    none.hidden = Boolean(target);
    body.hidden = !target;
    if (!target) return;
    const large = made();
    const job = asked && asked.asked?.target === target && going(asked) ? asked : null;
    const url = job?.frame ?? large?.url ?? store.urls.get(target) ?? null;
    if (stage.dataset.url !== (url ?? "")) {
      stage.dataset.url = url ?? "";
      clear(stage);
      stage.append(
        url
          ? el("img", { src: url, alt: `What ${target} looks for` })
          : el(
              "span",
              { class: "hint" },
              target.includes(":") ? "No picture yet" : "Paint it large to see it",
            ),
      );
    }
    name.textContent = target;
    text.textContent = meaning(studio, target);
    running.hidden = !job;
    if (job) {
      progress.value = job.share ?? 0;
      write(line, doing(job));
      stop.disabled = job.status === "stopping";
    }
    const failed = asked && asked.asked?.target === target && asked.status === "failed";
    problem.hidden = !failed;
    if (failed) write(problem, failure(asked));
    notes.hidden = !large?.notes?.length;
    notes.textContent = (large?.notes ?? []).join(" ");
    paint.disabled = Boolean(job);
    download.hidden = !large;
    if (large) {
      download.href = `${large.url}?download=1`;
      download.setAttribute("aria-label", `Download ${large.name}`);
    }
  }

  paint.addEventListener("click", async () => {
    const job = await studio.ask("/api/unit", { target, size: 384, canvas: canvas.value });
    if (!job) return;
    asked = studio.jobs.get(job.id) ?? job;
    draw();
  });
  stop.addEventListener("click", () => asked && studio.ask(`/api/jobs/${asked.id}/stop`, {}));
  dream.addEventListener("click", async () => {
    const of = target;
    studio.change({ target: of });
    studio.show("draft"); // a dream that is shown was made with another target
    await studio.open("dream");
    studio.say(`The target is now ${of}.`);
    if (!studio.current) return; // it waits for a photo
    const place = document.querySelector(".stage");
    place.scrollIntoView({ block: "nearest" });
    place.querySelector(".button.main").focus({ preventScroll: true });
  });
  add.addEventListener("click", () => {
    const before = studio.look.target ?? studio.base().target;
    const sum = before ? `${before} + ${target}` : target;
    studio.change({ target: sum });
    studio.say(`The target is now ${sum}.`);
  });
  copy.addEventListener("click", () => {
    const large = made();
    studio.copy(
      large?.command ?? `dreamer visualize ${quoted(target)} --canvas ${canvas.value} --size 384`,
    );
  });
  studio.on("job", (job) => {
    if (job.kind !== "unit" || (asked && asked.id !== job.id && !going(job))) return;
    asked = job;
    draw();
  });
  studio.on("made", (each) => each.kind === "unit" && draw());
  studio.on("gone", ({ made: id }) => id && draw());
  studio.on("state", () => {
    asked = studio.jobs.get(asked?.id) ?? null; // the studio may be another one
    draw();
  });
  let looked = null;
  /** Ask for the small picture of a channel or class, if nobody else does. */
  function look(of) {
    if (looked) store.leave(looked);
    looked = of?.includes(":") ? of : null;
    if (looked) store.enter(looked);
  }
  // The small picture of what was picked may come later.
  store.cells.add({
    get target() {
      return target;
    },
    show: draw,
  });

  return {
    node,
    show(of) {
      target = of;
      look(of);
      draw();
    },
    look,
    target: () => target,
  };
}

export function mount(root, studio) {
  const side = detail(studio);
  const view = browser(studio, {
    chosen(of) {
      side.show(of);
      // On a phone it lies below the grid.
      if (matchMedia("(max-width: 720px)").matches) {
        side.node.scrollIntoView({ block: "nearest" });
      }
    },
  });
  const earlier = el("div", { class: "grid unit-earlier" });
  const shelf = el("section", { class: "stack" }, el("h3", {}, "Painted earlier"), earlier);
  root.append(
    el(
      "div",
      { class: "microscope" },
      el(
        "header",
        { class: "stack" },
        el("h2", {}, "Microscope"),
        el(
          "p",
          { class: "hint" },
          "What the network looks for: fine things in the first layers, whole things in the last.",
        ),
        marks(studio),
      ),
      el("div", { class: "microscope-panes" }, view.node, side.node),
      shelf,
    ),
  );

  function shelve() {
    // The last one of each target.
    const painted = new Map();
    for (const each of studio.made.values()) {
      if (each.kind === "unit") painted.set(each.asked?.target ?? each.name, each);
    }
    shelf.hidden = !painted.size;
    clear(earlier);
    for (const [of, each] of [...painted].reverse()) {
      earlier.append(
        el(
          "button",
          { type: "button", class: "thumb", onclick: () => view.find(of), title: each.name },
          el("img", { src: each.thumb ?? each.url, alt: "", loading: "lazy" }),
          el("span", {}, of),
        ),
      );
    }
  }
  shelve();
  studio.on("made", (each) => each.kind === "unit" && shelve());
  studio.on("gone", ({ made }) => made && shelve());
  studio.on("state", shelve);

  let opened = false;
  const show = () => {
    // Built when first looked at: a thousand cells cost a page that does not show them.
    if (!opened) view.open();
    opened = true;
  };
  studio.on("tab", (name) => {
    if (name === "microscope") show();
    side.look(name === "microscope" ? side.target() : null);
  });
  side.show(null);

  return {
    /** Show a target, or what a job of the queue paints. */
    open({ target, asked, job }) {
      show();
      const of = target ?? asked?.target ?? studio.jobs.get(job)?.asked?.target;
      if (of) view.find(of);
    },
  };
}
