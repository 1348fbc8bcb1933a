// The tab Batch: many photos with some presets, unattended; and the page of the results.
import { clamp, field, write } from "./controls.js";
import { clear, count, el, icon, short } from "./dom.js";
import { again as left, failure, going, goOn, waiting } from "./jobs.js";
import { draftsOf } from "./journey.js";
import { recall, remember } from "./memory.js";
import { dropped, photoList } from "./photos.js";

const KEPT = "dreamer-batch";

export function mount(root, studio) {
  const { sizes, limits } = studio.start;
  let chosen = null; // names of presets; null until one is ticked: the look in use
  let current = null; // the job that runs or ran last
  let dials = true;
  const visible = () => !root.hidden && root.offsetParent !== null;
  const photos = photoList(studio, draw);

  // ---------------------------------------------------------------- presets

  const boxes = new Map();
  const grid = el("div", { class: "batch-presets" });
  const quiet = (label, text) =>
    el("button", { type: "button", class: "button quiet", "aria-label": label }, text);
  const all = quiet("All presets", "All");
  const none = quiet("None of the presets", "None");
  const presetHint = el("p", { class: "hint" });
  const presetCard = el(
    "fieldset",
    { class: "card stack batch-looks" },
    el("legend", { class: "visually-hidden" }, "Presets"),
    el(
      "div",
      { class: "row" },
      el("h3", { "aria-hidden": "true" }, "Presets"),
      el("span", { class: "push" }, all, none),
    ),
    presetHint,
    grid,
  );

  const ticked = () => {
    const { preset, from } = studio.look;
    const names = chosen ?? new Set(from ? [] : [preset ?? "dream"]);
    return studio.start.presets.map((each) => each.name).filter((name) => names.has(name));
  };
  /** The file whose settings are in use instead of a preset: they go where none is ticked. */
  const fromFile = () => (ticked().length ? null : studio.look.from);

  function buildPresets() {
    boxes.clear();
    clear(grid);
    for (const { name, description } of studio.start.presets) {
      const input = el("input", { type: "checkbox", "aria-label": name });
      const picture = el("span", { class: "blank" });
      const node = el(
        "label",
        { class: "batch-preset", title: description },
        picture,
        el("span", { class: "batch-tick" }, input, el("span", { "aria-hidden": "true" }, name)),
      );
      input.addEventListener("change", () => {
        chosen = new Set(ticked());
        if (input.checked) chosen.add(name);
        else chosen.delete(name);
        draw();
      });
      boxes.set(name, { input, picture, node });
      grid.append(node);
    }
  }
  all.addEventListener("click", () => {
    chosen = new Set(studio.start.presets.map((each) => each.name));
    draw();
  });
  none.addEventListener("click", () => {
    chosen = new Set();
    draw();
  });

  function drawPresets() {
    const names = new Set(ticked());
    // Any photo's strip shows what a preset does; that of the photo in use comes first.
    const strips = [...studio.jobs.values()].filter((job) => job.kind === "strip");
    const ids = [studio.current?.id, ...strips.map((job) => job.asked?.photo)];
    const drafts = new Map();
    for (const id of ids) {
      for (const [name, url] of draftsOf(studio, id)) if (!drafts.has(name)) drafts.set(name, url);
    }
    grid.classList.toggle("batch-plain", drafts.size === 0);
    for (const [name, { input, picture, node }] of boxes) {
      input.checked = names.has(name);
      node.classList.toggle("batch-on", input.checked);
      const url = drafts.get(name) ?? "";
      if (picture.dataset.url !== url) {
        picture.dataset.url = url;
        clear(picture, url ? el("img", { src: url, alt: "", loading: "lazy" }) : null);
      }
    }
    const { from } = studio.look;
    const file = studio.photos.get(from)?.name ?? "the file in use";
    const many = `${count(names.size, "preset")}, each on every photo.`;
    if (!from) presetHint.textContent = names.size ? many : "Tick at least one.";
    else if (names.size) presetHint.textContent = `${many} With none, the settings of ${file} go.`;
    else presetHint.textContent = `The settings of ${file}, on every photo; or tick presets.`;
  }

  // ---------------------------------------------------------------- settings

  const size = el(
    "select",
    {},
    sizes.map((each) => el("option", { value: String(each) }, `${each} px`)),
    el("option", { value: "" }, "Each photo's own"),
  );
  size.value = String(sizes.includes(studio.size) ? studio.size : studio.start.size);
  const seeds = el("input", { type: "number", min: "1", max: String(limits.seeds), value: "1" });
  const quality = el(
    "select",
    {},
    el("option", { value: "" }, "As the preset"),
    studio.start.choices.quality.map((each) => el("option", { value: each }, each)),
  );
  quality.value = studio.look.quality ?? "";
  const zoom = el("input", {
    type: "number",
    min: "0.5",
    max: String(limits.batch_zoom),
    step: "0.5",
    placeholder: "none",
  });
  const useDials = el("input", { type: "checkbox", checked: true });
  const dialsText = el("span", {});
  const dialsField = el("label", { class: "check batch-dials" }, useDials, dialsText);
  const sum = el("p", { class: "batch-sum" });
  const go = el("button", { type: "button", class: "button main" }, "Dream them all");
  const settings = el(
    "section",
    { class: "card stack", "aria-label": "Settings of the batch" },
    el(
      "div",
      { class: "batch-fields" },
      field("Longer side", size),
      field("Quality", quality),
      field("Dreams of each", seeds),
      field("Zoom film, seconds", zoom),
    ),
    dialsField,
    sum,
    el("div", { class: "row" }, go),
  );
  useDials.addEventListener("change", () => {
    dials = useDials.checked;
    draw();
  });
  seeds.addEventListener("input", () => drawSum());
  seeds.addEventListener("change", () => {
    seeds.value = String(manySeeds());
    drawSum();
  });
  zoom.addEventListener("input", () => drawSum());

  const manySeeds = () => clamp(Math.round(Number(seeds.value)) || 1, 1, limits.seeds);
  const zoomSeconds = () =>
    zoom.value === "" ? null : clamp(Number(zoom.value) || 0.5, 0.5, limits.batch_zoom);

  /** What the Dream tab says beside the preset, for these photos as well; a mask fits only one. */
  function extra() {
    const { preset, from, mask, quality: its, ...rest } = studio.look;
    return Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null));
  }

  function drawSum() {
    const said = extra();
    const words = Object.entries(said).map(([name, value]) =>
      name === "guide" ? "its guide" : `${name} ${Array.isArray(value) ? value.join(", ") : value}`,
    );
    dialsField.hidden = !words.length;
    dialsText.textContent = `As in Dream: ${words.join("; ")}`;
    const ready = photos.ready();
    const names = ticked().length;
    const pictures = ready * (fromFile() ? 1 : names) * manySeeds();
    const parts = [count(ready, "photo")];
    if (!fromFile()) parts.push(count(names, "preset"));
    if (manySeeds() > 1) parts.push(`${manySeeds()} dreams`);
    const films = zoomSeconds() ? `, and ${count(pictures, "film")}` : "";
    sum.textContent = ready
      ? `${parts.join(" × ")}: ${count(pictures, "picture")}${films}`
      : "Choose some photos first.";
    const busy = current && going(current);
    go.disabled = !pictures || Boolean(busy) || photos.pending() > 0;
  }

  go.addEventListener("click", async () => {
    const names = ticked();
    const from = fromFile();
    const job = await studio.ask("/api/batch", {
      photos: photos.ids(),
      presets: names,
      look: {
        ...(dials ? extra() : {}),
        preset: names[0] ?? null,
        from,
        quality: quality.value || null,
      },
      size: size.value ? Number(size.value) : null,
      seeds: manySeeds(),
      zoom: zoomSeconds(),
    });
    if (!job) return;
    current = studio.jobs.get(job.id) ?? job;
    draw();
    outcome.scrollIntoView({ block: "nearest" });
  });

  // ---------------------------------------------------------------- what comes of it

  const title = el("h3", {});
  const progress = el("progress", { class: "progress", max: "1", "aria-label": "Batch" });
  const doing = el("p", { class: "batch-doing" });
  const stop = el("button", { type: "button", class: "button" }, icon("stop"), "Stop");
  const resume = el("button", { type: "button", class: "button main" }, "Go on");
  const problem = el("p", { class: "error", role: "alert" });
  const notes = el("ul", { class: "note" });
  const gallery = el(
    "a",
    { class: "button main", target: "_blank", rel: "noopener" },
    "Open the gallery",
    el("span", { class: "visually-hidden" }, " in a new tab"),
  );
  const copy = el("button", { type: "button", class: "button" }, icon("copy"), "Copy command");
  const rows = el("tbody", {});
  const table = el(
    "table",
    { class: "batch-table" },
    el("caption", { class: "visually-hidden" }, "Pictures of the batch"),
    el(
      "thead",
      {},
      el("tr", {}, ["Photo", "Preset", "Status"].map((each) => el("th", { scope: "col" }, each))),
    ),
    rows,
  );
  const outcome = el(
    "section",
    { class: "card stack batch-outcome", "aria-label": "The batch" },
    el("div", { class: "batch-row" }, title, stop),
    progress,
    doing,
    problem,
    el("div", { class: "row batch-links" }, resume, gallery, copy),
    notes,
    // Scrolls, so that the keyboard has to come to it.
    el(
      "div",
      { class: "batch-scroll", tabIndex: 0, role: "region", "aria-label": "Its pictures" },
      table,
    ),
  );
  const earlier = el("ul", { class: "batch-earlier" });
  const shelf = el(
    "section",
    { class: "card stack batch-shelf", "aria-label": "Earlier galleries" },
    el("h3", {}, "Earlier galleries"),
    earlier,
  );
  stop.addEventListener("click", () => current && studio.ask(`/api/jobs/${current.id}/stop`, {}));
  resume.addEventListener("click", () => goOn(studio, current));
  const madeOf = (job) => (job?.made ?? []).map((id) => studio.made.get(id)).find(Boolean);
  copy.addEventListener("click", () => {
    const made = madeOf(current);
    if (made) studio.copy(made.command);
  });


  function drawOutcome() {
    const job = current;
    outcome.hidden = !job;
    if (!job) return;
    const active = going(job);
    const items = job.result?.items ?? [];
    const done = items.filter((each) => ["done", "skipped"].includes(each.status)).length;
    const failed = items.filter((each) => each.status === "failed").length;
    write(title, job.title || "The batch");
    progress.hidden = !active;
    progress.value = job.share ?? 0;
    stop.hidden = !active;
    resume.hidden = !left(job);
    stop.disabled = job.status === "stopping";
    // The server says the same of pictures; of films, something else.
    const more = /^\d+ of \d+/.test(job.doing ?? "") ? "" : job.doing;
    const tally = items.length
      ? `${done} of ${count(items.length, "picture")}${failed ? `, ${failed} failed` : ""}`
      : "";
    doing.textContent = {
      waiting: waiting(job),
      running: [tally, more].filter(Boolean).join(". "),
      stopping: [tally, "stopping"].filter(Boolean).join(". "),
      stopped: `Stopped: ${tally || "nothing"} made.`,
    }[job.status] ?? tally;
    problem.hidden = job.status !== "failed";
    if (job.status === "failed") write(problem, failure(job));
    const page = madeOf(job)?.url ?? null;
    gallery.hidden = !page;
    if (page) gallery.href = page;
    copy.hidden = !madeOf(job);
    const said = [...new Set([...(job.notes ?? []), ...(madeOf(job)?.notes ?? [])])];
    notes.hidden = !said.length;
    clear(
      notes,
      said.map((each) => el("li", {}, each)),
    );
    table.hidden = !items.length;
    while (rows.children.length > items.length) rows.lastChild.remove();
    items.forEach((each, index) => {
      if (!rows.children[index]) {
        rows.append(el("tr", {}, el("td", {}), el("td", {}), el("td", {})));
      }
      const [name, preset, status] = rows.children[index].children;
      write(name, each.name);
      write(preset, each.preset ?? "");
      const words = { running: "dreaming", skipped: "there already" };
      if (!active) words.waiting = "not made";
      const word = words[each.status] ?? each.status;
      write(status, each.why ? `${word}: ${each.why}` : word);
      status.className = `batch-${each.status}`;
    });
  }

  function drawShelf() {
    const pages = [...studio.made.values()]
      .filter((each) => each.kind === "batch" && !current?.made?.includes(each.id))
      .reverse();
    shelf.hidden = !pages.length;
    clear(
      earlier,
      pages.map((each) =>
        el(
          "li",
          {},
          el(
            "a",
            { href: each.url, target: "_blank", rel: "noopener" },
            each.name,
            el("span", { class: "visually-hidden" }, ", in a new tab"),
          ),
          el(
            "span",
            { class: "hint" },
            [
              each.asked?.photos ? count(each.asked.photos.length, "photo") : "",
              (each.asked?.presets ?? []).slice(0, 4).join(", "),
              (each.asked?.presets ?? []).length > 4 ? "and more" : "",
              each.asked?.look?.from ? `settings of ${each.asked.look.from}` : "",
              each.partial ? "stopped" : "",
              each.seconds ? `${short(each.seconds)} s` : "",
            ]
              .filter(Boolean)
              .join(", "),
          ),
          el(
            "button",
            {
              type: "button",
              class: "button quiet",
              "aria-label": `Copy command of ${each.name}`,
              onclick: () => studio.copy(each.command),
            },
            icon("copy"),
            "Copy command",
          ),
        ),
      ),
    );
  }

  // ---------------------------------------------------------------- all of it

  /** Remember what is chosen: the photos themselves are with the server. */
  function keep() {
    remember(KEPT, { ids: photos.ids(), chosen: chosen && [...chosen] });
  }

  /** Take up what was chosen before a reload, as far as the server still has it. */
  function again() {
    const kept = recall(KEPT);
    if (Array.isArray(kept.chosen)) chosen = new Set(kept.chosen);
    if (Array.isArray(kept.ids)) photos.recall(kept.ids);
  }

  function draw() {
    keep();
    if (!visible()) return;
    photos.draw();
    drawPresets();
    drawSum();
    drawOutcome();
    drawShelf();
  }

  buildPresets();
  root.append(
    el(
      "div",
      { class: "batch" },
      photos.node,
      el("div", { class: "stack batch-how" }, presetCard, settings),
      outcome,
      shelf,
    ),
  );

  // Before the shell hears of it: that cannot look into folders.
  document.addEventListener("drop", async (event) => {
    if (!visible() || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (![...(event.dataTransfer?.items ?? [])].some((item) => item.kind === "file")) return;
    if (/\.toml$/i.test(event.dataTransfer.files[0]?.name ?? "")) return;
    event.preventDefault();
    photos.take(await dropped(event.dataTransfer));
  });

  studio.on("current", draw);
  studio.on("look", () => visible() && (drawPresets(), drawSum()));
  studio.on("presets", () => {
    buildPresets();
    draw();
  });
  studio.on("job", (job) => {
    if (job.kind === "strip" && visible()) drawPresets();
    if (job.kind !== "batch") return;
    if (current?.id !== job.id && (!going(job) || (current && going(current)))) return;
    current = job;
    if (!visible()) return;
    drawOutcome();
    drawSum();
    if (!going(job)) drawShelf();
  });
  studio.on("made", (each) => each.kind === "batch" && !(current && going(current)) && draw());
  studio.on("gone", ({ made }) => made && draw());
  const newest = () => {
    const jobs = [...studio.jobs.values()].filter((job) => job.kind === "batch");
    current = jobs.find(going) ?? jobs.at(-1) ?? null;
  };
  studio.on("state", () => {
    newest();
    photos.again();
    draw();
  });
  studio.on("tab", (name) => name === "batch" && draw());
  newest();
  again();
  draw();

  return {
    /** Take files that were pasted, as photos of the batch; a preset is the shell's to take. */
    intake(given) {
      if (given.every((file) => /\.toml$/i.test(file.name))) return false;
      photos.take(given);
      return true;
    },
    /** Show a job of the queue, or take photos that the page has. */
    open({ job, photos: ids }) {
      if (ids) photos.recall(ids);
      current = studio.jobs.get(job) ?? current;
      draw();
      outcome.scrollIntoView({ block: "nearest" });
    },
  };
}
