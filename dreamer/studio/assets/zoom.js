// The tab Zoom: where to, how fast, through which looks; and the film of it.
import { clear, count, el, icon, short } from "./dom.js";
import { beginnings, dial, field, range, rounded, tick, write } from "./controls.js";
import { framing } from "./framing.js";
import { doing, failure, going } from "./jobs.js";
import { journey, lasting } from "./journey.js";
import { known, recall, remember } from "./memory.js";

const KEPT = "dreamer-zoom";
const SHAPES = [
  ["", "The photo's own"],
  ["854x480", "480p, 854 × 480"],
  ["1280x720", "720p, 1280 × 720"],
  ["1920x1080", "1080p, 1920 × 1080"],
  ["720x720", "Square, 720 × 720"],
  ["720x1280", "Phone, 720 × 1280"],
];
const NAMED = { "480p": "854x480", "720p": "1280x720", "1080p": "1920x1080" };
const RATES = [12, 15, 24, 25, 30, 50, 60];
const FORMATS = { mp4: "MP4", webm: "WebM", gif: "GIF", webp: "WebP" };
const USUAL = {
  center: [0.5, 0.5],
  size: null,
  speed: 2,
  rotate: 0,
  direction: "in",
  ease: false,
  loop: false,
  seconds: 10,
  fps: 30,
  format: "mp4",
  journey: [],
  fade: null,
};

const isFilm = (each) => each.kind === "film" || each.kind === "preview";

/** What is kept or told of a zoom, as far as the page knows it, over what is usual. */
function planned(told) {
  const plan = { ...USUAL, ...structuredClone(known(told, USUAL)) };
  plan.journey = plan.journey
    .filter((part) => part?.what && part.seconds > 0)
    .map(({ what, seconds }) => ({ what, seconds }));
  return plan;
}

export function mount(root, studio) {
  const { limits } = studio.start;
  let showing = null; // the film that is on the stage, instead of the framing
  let current = null; // the film's job that runs or ran last
  const visible = () => !root.hidden && root.offsetParent !== null;

  function photo() {
    return studio.current;
  }
  // What is to be made, and how its parts tell each other of changes.
  const zoom = {
    studio,
    plan: planned(recall(KEPT)),
    photo,
    total() {
      const { journey: looks, seconds } = zoom.plan;
      return looks.length ? looks.reduce((sum, each) => sum + each.seconds, 0) : seconds;
    },
    changed,
    change(some) {
      Object.assign(zoom.plan, some);
      changed();
    },
  };
  const frames = framing(zoom);
  const looks = journey(zoom);
  // ---------------------------------------------------------------- the camera

  const shape = el(
    "select",
    {},
    SHAPES.map(([value, label]) => el("option", { value }, label)),
  );
  const speed = dial("Speed", range(1.05, 8, 0.05), (value) => `${short(value)} times a second`);
  const turn = dial("Turn", range(-180, 180, 1), (value) =>
    value ? `${short(value)}° a second` : "none",
  );
  const ways = ["in", "out"].map((value) => {
    const input = el("input", { type: "radio", name: "zoom-direction", value });
    return { input, node: el("label", { class: "check" }, input, value === "in" ? "In" : "Out") };
  });
  const ease = tick("Start and end slowly");
  const loop = tick("Loop: it ends as it begins");
  const rate = el(
    "select",
    {},
    RATES.map((value) => el("option", { value: String(value) }, `${value} a second`)),
  );
  const format = el(
    "select",
    {},
    Object.entries(FORMATS).map(([value, label]) => el("option", { value }, label)),
  );
  const camera = el(
    "section",
    { class: "card stack zoom-camera", "aria-label": "Camera" },
    field("Shape", shape),
    el(
      "fieldset",
      { class: "zoom-ways" },
      el("legend", {}, "Direction"),
      ways.map((way) => way.node),
    ),
    speed.node,
    turn.node,
    ease.node,
    loop.node,
  );

  shape.addEventListener("change", () => zoom.change({ size: shape.value || null }));
  speed.input.addEventListener("input", () => zoom.change({ speed: Number(speed.input.value) }));
  turn.input.addEventListener("input", () => zoom.change({ rotate: Number(turn.input.value) }));
  for (const { input } of ways) {
    input.addEventListener("change", () => {
      if (input.checked) zoom.change({ direction: input.value });
    });
  }
  ease.input.addEventListener("change", () => zoom.change({ ease: ease.input.checked }));
  loop.input.addEventListener("change", () => zoom.change({ loop: loop.input.checked }));
  rate.addEventListener("change", () => zoom.change({ fps: Number(rate.value) }));
  format.addEventListener("change", () => zoom.change({ format: format.value }));
  function drawCamera() {
    if (zoom.plan.size && !SHAPES.some(([value]) => value === zoom.plan.size)) {
      // A film of another size was restored.
      if (![...shape.options].some((option) => option.value === zoom.plan.size)) {
        shape.append(el("option", { value: zoom.plan.size }, zoom.plan.size.replace("x", " × ")));
      }
    }
    shape.value = zoom.plan.size ?? "";
    speed.input.value = zoom.plan.speed;
    turn.input.value = zoom.plan.rotate;
    speed.show();
    turn.show();
    for (const { input } of ways) input.checked = input.value === zoom.plan.direction;
    ease.input.checked = zoom.plan.ease;
    loop.input.checked = zoom.plan.loop;
    if (![...rate.options].some((option) => option.value === String(zoom.plan.fps))) {
      const said = `${short(zoom.plan.fps)} a second`;
      rate.append(el("option", { value: String(zoom.plan.fps) }, said));
    }
    rate.value = String(zoom.plan.fps);
    format.value = zoom.plan.format;
  }
  // ---------------------------------------------------------------- the film

  const preview = el("button", { type: "button", class: "button main" }, "Preview");
  const make = el("button", { type: "button", class: "button" }, "Make the film");
  const work = el("p", { class: "hint zoom-work" });
  const asking = el(
    "section",
    { class: "card stack zoom-ask", "aria-label": "Film" },
    el("div", { class: "zoom-fields" }, field("Format", format), field("Frames", rate)),
    work,
    el("div", { class: "row" }, preview, make),
  );

  const toFrame = el("button", { type: "button", class: "button quiet" }, "Framing");
  const toFilm = el("button", { type: "button", class: "button quiet" }, "Film");
  const views = el(
    "div",
    { class: "zoom-views", role: "group", "aria-label": "What is shown" },
    toFrame,
    toFilm,
  );
  const screen = el("div", { class: "film-screen" });
  const progress = el("progress", { class: "progress", max: "1", "aria-label": "Film" });
  const line = el("p", { class: "film-doing" });
  const stop = el("button", { type: "button", class: "button" }, icon("stop"), "Stop");
  const again = el("button", { type: "button", class: "button main" }, "Go on");
  const stopHint = el("p", { class: "hint" }, "What is dreamed is kept: ask again to go on.");
  const running = el(
    "div",
    { class: "stack" },
    progress,
    el("div", { class: "film-row" }, line, stop, again),
    stopHint,
  );
  const problem = el("p", { class: "error", role: "alert" });
  const notes = el("ul", { class: "note film-notes" });
  const download = el("a", { class: "button main", download: "" }, icon("download"), "Download");
  const copy = el("button", { type: "button", class: "button" }, icon("copy"), "Copy command");
  const caption = el("p", { class: "hint" });
  const done = el("div", { class: "stack" }, el("div", { class: "row" }, download, copy), caption);
  const film = el(
    "div",
    { class: "stack film", role: "group", "aria-label": "The film" },
    screen,
    running,
    problem,
    done,
    notes,
  );
  const earlier = el("div", { class: "grid film-earlier" });
  const shelf = el("section", { class: "stack" }, el("h3", {}, "Earlier films"), earlier);
  let onStage = false; // the film rather than the framing
  const fresh = new Set(); // films that came while a job ran

  function drawAsk() {
    const length = zoom.total();
    const doublings = Math.max(1, Math.ceil(length * Math.log2(zoom.plan.speed)));
    work.textContent =
      `${lasting(length)}, ${count(Math.round(length * zoom.plan.fps), "frame")}, ` +
      `about ${count(doublings, "picture")} to dream. A preview is small and fast.`;
    const over = length > limits.seconds;
    if (over) work.textContent = `${short(length)} seconds: at most ${limits.seconds} can be made.`;
    work.classList.toggle("error", over);
    const busy = Boolean(current && going(current));
    for (const button of [preview, make]) button.disabled = over || busy || !photo();
  }

  /** The body of /api/zoom. */
  function body(small) {
    const { journey: parts, seconds: length, ...rest } = zoom.plan;
    const many = parts.length > 0;
    const { look } = studio;
    return {
      photo: photo().id,
      // A target of the shared look would go over every preset of a journey, as would a file's.
      look: many
        ? { ...look, target: null, from: null, preset: look.from ? null : look.preset }
        : look,
      seed: studio.seed ?? 0,
      preview: small,
      ...rest,
      fade: parts.length > 1 ? zoom.plan.fade : null,
      journey: parts,
      ...(many ? {} : { seconds: length }),
    };
  }

  async function ask(what) {
    if (!photo()) return;
    const job = await studio.ask("/api/zoom", what);
    if (!job) return;
    current = studio.jobs.get(job.id) ?? job;
    showing = null;
    onStage = true;
    draw();
    views.scrollIntoView({ block: "nearest" });
  }
  preview.addEventListener("click", () => ask(body(true)));
  make.addEventListener("click", () => ask(body(false)));
  again.addEventListener("click", () => current && ask(current.asked));
  stop.addEventListener("click", () => current && studio.ask(`/api/jobs/${current.id}/stop`, {}));
  copy.addEventListener("click", () => showing && studio.copy(showing.command));
  toFrame.addEventListener("click", () => {
    onStage = false;
    draw();
  });
  toFilm.addEventListener("click", () => {
    onStage = true;
    draw();
  });

  /** Put a picture or a film on the screen; what is there already stays as it is. */
  function project(url, kind, alt) {
    if (screen.dataset.url === url) return;
    screen.dataset.url = url;
    if (kind === "video") {
      const video = el("video", {
        src: url,
        controls: true,
        loop: true,
        muted: true,
        playsInline: true,
        "aria-label": alt,
      });
      clear(screen, video);
      if (visible() && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
        // A browser may refuse to play by itself: there are controls.
        video.play().catch(() => {});
      }
      return;
    }
    const next = el("img", { alt });
    next.src = url;
    // Swapped when it is there, so that nothing flickers.
    next
      .decode()
      .catch(() => {})
      .then(() => screen.dataset.url === url && clear(screen, next));
  }

  function drawFilm() {
    const job = current;
    const active = job && going(job);
    const any = Boolean(active || showing || (job && job.status !== "done"));
    if (!any) onStage = false;
    views.hidden = !any;
    toFrame.setAttribute("aria-pressed", String(!onStage));
    toFilm.setAttribute("aria-pressed", String(onStage));
    frames.node.hidden = onStage;
    film.hidden = !onStage;
    if (!onStage) {
      screen.querySelector("video")?.pause();
      return;
    }
    const [w, h] = showing
      ? [showing.width, showing.height]
      : zoom.plan.size
        ? zoom.plan.size.split("x")
        : [photo()?.width ?? 3, photo()?.height ?? 2];
    screen.style.aspectRatio = `${w} / ${h}`;
    screen.style.width = `min(100%, ${rounded((w / h) * 52, 1)}vh)`;
    running.hidden = !active;
    done.hidden = !showing;
    problem.hidden = true;
    if (active) {
      progress.value = job.share ?? 0;
      write(line, doing(job));
      stop.disabled = job.status === "stopping";
      if (job.frame) project(job.frame, "img", "The last picture dreamed");
      else if (photo()?.url) project(photo().url, "img", `The photo ${photo().name}`);
      else clear(screen).removeAttribute("data-url");
    } else if (showing) {
      const still = /\.(gif|webp)$/i.test(showing.url);
      const size = `${showing.width} × ${showing.height}`;
      project(showing.url, still ? "img" : "video", `The film ${showing.name}`);
      download.href = `${showing.url}?download=1`;
      caption.textContent =
        `${showing.name}, ${size}. ` +
        (showing.seconds ? `Made in ${short(showing.seconds)} seconds. ` : "") +
        (showing.partial ? "It was stopped before its end. " : "") +
        (showing.files ?? []).join(", ");
    } else if (job) {
      if (job.status === "failed") {
        problem.hidden = false;
        write(problem, failure(job));
      } else {
        running.hidden = false;
        progress.value = job.share ?? 0;
        write(line, doing(job));
      }
    }
    stop.hidden = !active;
    again.hidden = active || job?.status !== "stopped";
    stopHint.hidden = !active;
    const said = [...new Set([...(job?.notes ?? []), ...(showing?.notes ?? [])])];
    clear(
      notes,
      said.map((each) => el("li", {}, each)),
    );
    notes.hidden = !said.length;
  }

  function drawShelf() {
    // Of a film that has just come, the small picture follows with the job's end.
    const busy = current && going(current);
    const films = [...studio.made.values()]
      .filter((each) => isFilm(each) && !(busy && fresh.has(each.id)))
      .reverse();
    shelf.hidden = !films.length;
    clear(
      earlier,
      films.map((each) =>
        el(
          "button",
          {
            type: "button",
            class: "thumb",
            "aria-pressed": showing?.id === each.id,
            title: `${each.name}: shows it, with its settings`,
            onclick: () => reopen(each),
          },
          each.thumb ? el("img", { src: each.thumb, alt: "", loading: "lazy" }) : null,
          el("span", {}, each.name),
        ),
      ),
    );
  }

  /** Show an earlier film, with the settings that it was made with. */
  function reopen(each) {
    showing = each;
    onStage = true;
    if (each.asked) restore(each.asked);
    draw();
    views.scrollIntoView({ block: "nearest" });
  }

  function restore(asked) {
    // Not the size: a film has one of its own.
    studio.restore({ photo: asked.photo, look: asked.look, seed: asked.seed });
    zoom.plan = planned(asked);
    zoom.plan.size = NAMED[zoom.plan.size] ?? zoom.plan.size;
    looks.first();
    changed();
  }

  // ---------------------------------------------------------------- all of it

  function changed() {
    remember(KEPT, zoom.plan);
    frames.draw();
    drawCamera();
    looks.draw();
    drawAsk();
  }
  function draw() {
    if (!visible()) return;
    const there = Boolean(photo());
    none.hidden = there;
    panes.hidden = !there;
    drawFilm();
    drawShelf();
    if (there) changed();
  }

  const none = el(
    "div",
    { class: "card stack zoom-none" },
    el("h2", {}, "Zoom into a dream"),
    el("p", {}, "Choose a photo first: drop it anywhere, or begin with a sky of clouds."),
    el("div", { class: "row" }, beginnings(studio, true)),
  );
  const panes = el(
    "div",
    { class: "zoom-panes" },
    el("div", { class: "stack zoom-stage" }, views, frames.node, film),
    camera,
    looks.node,
    asking,
  );
  root.append(
    el(
      "div",
      { class: "zoom" },
      el("h2", { class: "visually-hidden" }, "Zoom"),
      none,
      panes,
      shelf,
    ),
  );

  studio.on("current", () => {
    if (current && !going(current)) current = null;
    showing = null;
    onStage = Boolean(current);
    draw();
  });
  studio.on("look", () => visible() && photo() && (looks.draw(), drawAsk()));
  studio.on("job", (job) => {
    if (job.kind === "strip" && visible() && photo()) looks.draw();
    if (!isFilm(job)) return;
    if (current?.id !== job.id && !going(job)) return;
    const before = current;
    current = job;
    if (before?.id !== job.id) {
      showing = null;
      onStage = true;
    }
    finish(job);
    if (!visible()) return;
    // While it runs, no more is drawn anew than what changes.
    if (before?.id === job.id && going(job)) drawFilm();
    else draw();
  });
  /** What a job has made is shown; either may be heard of first. */
  function finish(job) {
    if (going(job)) return;
    const made = (job.made ?? []).map((id) => studio.made.get(id)).filter(Boolean);
    if (!made.length || showing?.id === made.at(-1).id) return;
    showing = made.at(-1);
    onStage = true;
  }
  studio.on("made", (each) => {
    if (!isFilm(each)) return;
    fresh.add(each.id);
    if (current) finish(current);
    draw();
  });
  studio.on("state", () => {
    const films = [...studio.jobs.values()].filter(isFilm);
    current = films.find(going) ?? studio.jobs.get(current?.id) ?? null;
    if (showing && !studio.made.has(showing.id)) showing = null;
    if (current) finish(current);
    draw();
  });
  studio.on("gone", ({ made }) => {
    if (!made) return;
    if (showing?.id === made) showing = null;
    draw();
  });
  studio.on("presets", () => {
    looks.fill();
    if (visible() && photo()) looks.draw();
  });
  studio.on("tab", (name) => {
    if (name === "zoom") draw();
    else screen.querySelector("video")?.pause();
  });
  const films = [...studio.jobs.values()].filter(isFilm);
  current = films.findLast(going) ?? null;
  onStage = Boolean(current);
  draw();

  return {
    /** Take up the settings of a film, or show what a job of the queue has made. */
    open({ asked, job }) {
      if (asked) restore(asked);
      const found = studio.jobs.get(job);
      if (!found) return;
      current = found;
      showing = null;
      onStage = true;
      finish(found);
      draw();
    },
  };
}
