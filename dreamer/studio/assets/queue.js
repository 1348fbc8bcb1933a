// The queue: a list of this person's jobs at the foot of the page.

import { write } from "./controls.js";
import { $, clear, count, el, icon } from "./dom.js";
import { again, doing, going, goOn } from "./jobs.js";

// Such jobs are for this page itself: their answers are shown where they were asked for.
const SILENT = new Set(["strip", "suggest", "units"]);
// What takes minutes stays on the list when it has ended, until it was seen; what a moment gives is
// shown where it was asked for.
const LONG = new Set(["film", "batch"]);

/**
 * Build the queue into a node, and keep it up to date.
 *
 * `folded` is whether only a line of it is shown (null: as the window has room), `onfold` is called
 * when the user changes that.
 */
export function queue(node, studio, folded, onfold) {
  const rows = new Map();

  function listed() {
    return [...studio.jobs.values()].filter(
      (job) => going(job) || again(job) || job.status === "failed" || LONG.has(job.kind),
    );
  }

  function drop(job) {
    return studio.ask(`/api/jobs/${encodeURIComponent(job.id)}/drop`);
  }

  function rowOf(job) {
    const title = el("p", { class: "job-title" });
    const about = el("p", { class: "job-doing" });
    const bar = el("progress", { class: "progress", max: 1 });
    const act = (name, sign, run) => el("button", {
      class: "button quiet square", type: "button", title: name,
      "aria-label": `${name}: ${job.title}`,
      onclick: () => run(studio.jobs.get(job.id) ?? job),
    }, icon(sign));
    const show = act("Show", "photo", (it) => reveal(it));
    const on = act("Go on", "again", (it) => goOn(studio, it));
    const stop = act("Stop", "stop", (it) => studio.stop(it));
    const away = act("Dismiss", "close", (it) => drop(it));
    const row = el("li", { class: "job" }, el("div", { class: "job-line" }, title, about), bar,
      el("div", { class: "job-acts" }, show, on, stop, away));
    return { node: row, title, about, bar, show, on, stop, away };
  }

  function reveal(job) {
    if (job.kind === "dream") {
      studio.open("dream");
      const made = studio.made.get(job.made?.[0]);
      if (made) studio.restore(made.asked, `made:${made.id}`);
      else studio.show(`job:${job.id}`);
    } else if (job.kind === "batch") studio.open("batch", { job: job.id });
    else if (job.kind === "unit") studio.open("microscope", { job: job.id });
    else studio.open("zoom", { job: job.id });
  }

  function draw() {
    const jobs = listed();
    node.hidden = jobs.length === 0;
    const list = $(".queue-list", node);
    for (const [id, row] of rows) {
      if (jobs.some((job) => job.id === id)) continue;
      const held = row.node.contains(document.activeElement);
      row.node.remove();
      rows.delete(id);
      if (held) (list.querySelector("button:not([hidden])") ?? $("#main")).focus();
    }
    for (const job of jobs) {
      if (!rows.has(job.id)) {
        rows.set(job.id, rowOf(job));
        list.append(rows.get(job.id).node);
      }
      const row = rows.get(job.id);
      row.node.className = `job ${job.status}`;
      if (row.title.textContent !== job.title) {
        row.title.textContent = job.title;
        row.title.title = job.title;
      }
      const text = doing(job);
      write(row.about, text);
      row.bar.hidden = !going(job);
      row.bar.value = job.share ?? 0;
      row.bar.setAttribute("aria-label", `Progress of ${job.title}`);
      row.stop.hidden = !going(job);
      row.stop.disabled = job.status === "stopping";
      row.on.hidden = !again(job);
      row.away.hidden = going(job);
      row.show.hidden = SILENT.has(job.kind) || job.status === "failed";
    }
    const active = jobs.filter(going);
    const first = active.find((job) => job.status !== "waiting") ?? active[0];
    const folded = node.classList.contains("folded");
    const ended = jobs.length - active.length;
    const others = active.length > 1 ? ` (and ${active.length - 1} more)` : "";
    const text = folded && first
      ? `${first.title}: ${doing(first)}${others}`
      : first ? "Queue" : `${count(ended, "job has", "jobs have")} ended`;
    const summary = $(".summary", node);
    write(summary, text);
    $(".clear-ended", node).hidden = folded || ended < 2;
    const bar = $(".queue-progress", node);
    bar.hidden = !folded || !first;
    bar.value = first?.share ?? 0;
    list.hidden = folded;
    const fold = node.querySelector(":scope > .button");
    fold.setAttribute("aria-expanded", String(!folded));
    fold.setAttribute("aria-label", folded ? "Show the queue" : "Fold the queue");
    if (fold.dataset.sign !== String(folded)) {
      fold.dataset.sign = String(folded);
      clear(fold, icon(folded ? "up" : "down"));
    }
  }

  // On a phone the picture needs the room.
  node.classList.toggle("folded", folded ?? matchMedia("(max-width: 720px)").matches);
  const fold = el("button", {
    class: "button quiet square", type: "button", "aria-controls": "queue-list",
    onclick: () => {
      node.classList.toggle("folded");
      onfold();
      draw();
    },
  });
  node.append(
    el("p", { class: "summary" }),
    el("ul", { class: "queue-list", id: "queue-list" }),
    el("button", {
      class: "link clear-ended", type: "button",
      onclick: () => {
        for (const job of listed()) if (!going(job)) drop(job);
      },
    }, "Clear"),
    fold,
    el("progress", { class: "progress queue-progress", max: 1, "aria-label": "Progress" }),
  );
  for (const name of ["job", "state", "gone"]) studio.on(name, draw);
  draw();
}
