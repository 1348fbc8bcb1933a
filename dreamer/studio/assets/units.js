// Small pictures of what channels and classes look for, and what those are called.
import { going } from "./jobs.js";
import { post } from "./server.js";

const SETTLE = 250; // ms of rest before pictures are asked for: scrolling past asks for nothing

/** Pictures of what targets look for: asked for only while they are in view, one job at a time. */
class Pictures {
  constructor(studio) {
    this.studio = studio;
    this.urls = new Map();
    this.failed = new Set();
    this.cells = new Set();
    this.inView = new Map(); // target -> cells that show it
    this.job = null;
    this.timer = 0;
    this.asking = false;
    this.stopping = null; // the job that is given up here
    this.held = false; // the user stopped it: until something else comes into view
    const all = () => {
      for (const job of studio.jobs.values()) this.take(job);
    };
    studio.on("job", (job) => this.take(job));
    studio.on("state", () => {
      // A server that was started anew knows nothing of the job that was waited for.
      if (this.job && !studio.jobs.has(this.job.id)) this.job = null;
      all();
      this.settle();
    });
    studio.on("gone", ({ job }) => {
      if (this.job && this.job.id === job) {
        this.job = null;
        this.settle();
      }
    });
    all();
  }

  /** Take the pictures that a job has so far. */
  take(job) {
    if (job.kind !== "units") return;
    for (const { target, url } of job.result?.units ?? []) {
      if (this.urls.has(target)) continue;
      this.urls.set(target, url);
      this.tell(target);
    }
    if (this.job?.id !== job.id) return;
    this.job = job;
    if (going(job)) return;
    this.job = null;
    if (job.status === "stopped") {
      this.held = this.stopping !== job.id;
    } else {
      for (const target of job.asked?.targets ?? []) {
        if (this.urls.has(target)) continue;
        this.failed.add(target);
        this.tell(target);
      }
    }
    // The queue is for what the user asked for, and for what went wrong. Nothing is lost if this
    // stays in it.
    if (job.status !== "failed") post(`/api/jobs/${job.id}/drop`, {}).catch(() => {});
    this.settle();
  }

  tell(target) {
    for (const cell of this.cells) if (cell.target === target) cell.show();
  }

  enter(target) {
    this.inView.set(target, (this.inView.get(target) ?? 0) + 1);
    this.held = false;
    this.settle();
  }

  leave(target) {
    const left = (this.inView.get(target) ?? 0) - 1;
    if (left > 0) this.inView.set(target, left);
    else this.inView.delete(target);
    this.settle();
  }

  settle() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), SETTLE);
  }

  /** Ask for what is in view; give up a job of which nothing is in view any more. */
  async ask() {
    if (this.asking) return;
    if (this.job) {
      const wanted = (this.job.asked?.targets ?? []).some(
        (target) => this.inView.has(target) && !this.urls.has(target),
      );
      if (!wanted && ["waiting", "running"].includes(this.job.status)) {
        this.stopping = this.job.id;
        // It may have ended in this moment: then there is nothing to stop.
        post(`/api/jobs/${this.job.id}/stop`, {}).catch(() => {});
      }
      return;
    }
    const targets = [...this.inView.keys()]
      .filter((target) => !this.urls.has(target) && !this.failed.has(target))
      .slice(0, this.studio.start.limits.units);
    if (!targets.length || this.held) return;
    this.asking = true;
    try {
      const job = await this.studio.ask("/api/units", { targets });
      if (job) {
        const known = this.studio.jobs.get(job.id) ?? job;
        this.job = known;
        this.take(going(job) ? known : job);
      } else {
        // The reason was said; scrolling back tries again.
        this.inView.clear();
      }
    } finally {
      this.asking = false;
    }
    if (!this.job) this.settle();
  }
}

const stores = new WeakMap();

/** The pictures of the page: one store for all that show them. */
export function pictures(studio) {
  if (!stores.has(studio)) stores.set(studio, new Pictures(studio));
  return stores.get(studio);
}

/** The picture of a target, if it is known: a URL or null. */
export function pictureOf(studio, target) {
  return pictures(studio).urls.get(target) ?? null;
}

/** What a target means, in a few words. */
export function meaning(studio, target) {
  const { layers, classes, class_targets: named } = studio.start;
  if (target.startsWith("class:")) {
    const index = named.indexOf(target);
    return index < 0 ? "a class" : `the class “${classes[index]}”`;
  }
  const [name, number] = target.split(":");
  const layer = layers.find((each) => each.name === name);
  if (!layer) return "";
  const level = layer.level ? `, of the level ${layer.level}` : "";
  if (number === undefined) return `the layer ${name} as a whole${level}`;
  if (name === "logits") return `the class “${classes[Number(number)] ?? number}”`;
  return `channel ${number} of the ${layer.channels} in ${name}${level}`;
}
