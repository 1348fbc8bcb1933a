// What a zoom dreams, over time: one look, or a journey through several.
import { clear, el, icon, short } from "./dom.js";
import { clamp, field, rounded } from "./controls.js";
import { pick } from "./microscope.js";
import { meaning, pictureOf } from "./units.js";

const SHORTEST = 0.5; // seconds of a look that can still be grabbed

/** The drafts of every preset on a photo, if its strip has been made: a Map from name to URL. */
export function draftsOf(studio, id) {
  const drafts = new Map();
  for (const job of studio.jobs.values()) {
    if (job.kind !== "strip" || job.asked?.photo !== id) continue;
    for (const { preset, url } of job.result?.drafts ?? []) drafts.set(preset, url);
  }
  return drafts;
}

/** A time in words, such as "2.5 seconds". */
export function lasting(seconds) {
  return `${short(seconds)} ${seconds === 1 ? "second" : "seconds"}`;
}

/**
 * The timeline and the editor of its chosen look: {node, draw, fill, first}.
 *
 * It draws and changes `seconds`, `journey` and `fade` of `zoom.plan`; `fill` takes up new
 * presets, `first` chooses the first look.
 */
export function journey(zoom) {
  const { studio } = zoom;
  const { limits } = studio.start;
  let chosen = 0; // the look that is edited

  const line = el("ol", { class: "journey-line", "aria-label": "Journey" });
  const sum = el("p", { class: "journey-sum" });
  const plus = (text) => el("button", { type: "button", class: "button" }, icon("plus"), text);
  const begin = plus("Make it a journey");
  const add = plus("Add a look");
  const what = el(
    "select",
    {},
    el("optgroup", { label: "Presets" }),
    el("option", { value: "target" }, "A target of its own"),
  );
  const fillPresets = () => {
    clear(
      what.firstChild,
      studio.start.presets.map((each) => el("option", { value: `preset:${each.name}` }, each.name)),
    );
  };
  fillPresets();
  const target = el("input", { type: "text", spellcheck: false, autocomplete: "off" });
  const picker = el("button", { type: "button", class: "button" }, "Pick a channel or class…");
  const seconds = el("input", { type: "number", min: "0.5", step: "0.5", max: limits.seconds });
  const secondsField = field("Seconds", seconds);
  const long = el("input", { type: "number", min: "0.5", step: "0.5", max: limits.seconds });
  const left = el(
    "button",
    { type: "button", class: "button quiet square", "aria-label": "Move left" },
    icon("left"),
  );
  const right = el(
    "button",
    { type: "button", class: "button quiet square", "aria-label": "Move right" },
    icon("right"),
  );
  const remove = el(
    "button",
    { type: "button", class: "button quiet" },
    icon("close"),
    "Remove this look",
  );
  const fade = el("input", { type: "number", min: "0", step: "0.1", placeholder: "as it suits" });
  const fadeField = field("Fade, seconds", fade);
  const which = el("p", { class: "journey-which" });
  const targetField = field("Target", target);
  const editor = el(
    "div",
    { class: "journey-editor", role: "group", "aria-label": "The chosen look" },
    which,
    field("Look", what),
    targetField,
    picker,
    field("Seconds of this look", long),
    el("div", { class: "row journey-moves" }, left, right, remove),
  );
  const hint = el("p", { class: "hint" });
  const node = el(
    "section",
    { class: "card stack journey" },
    el(
      "div",
      { class: "journey-head" },
      el("h3", {}, "Looks over time"),
      sum,
      secondsField,
      fadeField,
      begin,
      add,
    ),
    line,
    hint,
    editor,
  );

  const sharedName = () =>
    studio.look.target ?? (studio.look.from ? "the file's look" : studio.look.preset ?? "dream");
  const isPreset = (name) => studio.start.presets.some((each) => each.name === name);

  /** The picture of a look on this photo, or what its target looks for. */
  function lookPicture(of, drafts) {
    const unit = isPreset(of) ? null : pictureOf(studio, of);
    return drafts.get(of) ?? unit ?? zoom.photo()?.url ?? null;
  }

  function draw() {
    const drafts = draftsOf(studio, zoom.photo()?.id);
    const looks = zoom.plan.journey.length
      ? zoom.plan.journey
      : [{ what: sharedName(), seconds: zoom.plan.seconds }];
    const many = zoom.plan.journey.length > 0;
    chosen = clamp(chosen, 0, looks.length - 1);
    const focused = [...line.children].findIndex((each) => each.contains(document.activeElement));
    clear(line);
    looks.forEach((each, index) => {
      const url = lookPicture(each.what, drafts);
      const label = `${each.what}, ${lasting(each.seconds)}`;
      const inside = [
        url ? el("img", { src: url, alt: "", draggable: false }) : null,
        el(
          "span",
          { class: "block-text" },
          el("span", { class: "block-name" }, each.what),
          el("span", { class: "block-seconds" }, `${short(each.seconds)} s`),
        ),
      ];
      const block = many
        ? el(
            "button",
            {
              type: "button",
              class: "block",
              "aria-pressed": index === chosen,
              "aria-label": `Look ${index + 1}: ${label}`,
              title: label,
              onclick: () => {
                chosen = index;
                draw();
              },
              onkeydown: (event) => keys(event, index),
            },
            inside,
          )
        : el("div", { class: "block block-only", title: label }, inside);
      const item = el("li", { class: "block-item" }, block);
      // Less than 1 in all would leave a part of the line empty.
      item.style.flexGrow = each.seconds * 100;
      if (many) item.append(edge(index));
      line.append(item);
    });
    if (focused >= 0 && many) {
      focus(clamp(focused, 0, looks.length - 1));
    }
    sum.textContent = `${short(zoom.total())} s in all`;
    const file = studio.look.from ? " Of the file's settings a journey has only the target." : "";
    hint.textContent = many
      ? `One look after the other. Drag an edge to make a look longer; the next gives way.${file}`
      : "One look all through. A journey goes through several, which melt into each other.";
    editor.hidden = !many;
    begin.hidden = many;
    add.hidden = !many;
    secondsField.hidden = many;
    if (document.activeElement !== seconds) seconds.value = zoom.plan.seconds;
    fadeField.hidden = zoom.plan.journey.length < 2;
    if (document.activeElement !== fade) fade.value = zoom.plan.fade ?? "";
    fade.max = String(longestFade());
    if (!many) return;
    const look = looks[chosen];
    const own = !isPreset(look.what);
    which.textContent = `Look ${chosen + 1} of ${looks.length}`;
    what.value = own ? "target" : `preset:${look.what}`;
    targetField.hidden = !own;
    if (document.activeElement !== target) target.value = own ? look.what : "";
    if (document.activeElement !== long) long.value = short(look.seconds);
    left.disabled = chosen === 0;
    right.disabled = chosen === looks.length - 1;
  }

  /** A fade is at most as long as the shorter look beside it. */
  function longestFade() {
    const lengths = zoom.plan.journey.map((each) => each.seconds);
    return lengths.length ? Math.min(...lengths) : 0;
  }

  /** The right edge of a look, to drag. By keyboard there is its number of seconds. */
  function edge(index) {
    const grip = el("span", { class: "block-edge", "aria-hidden": "true" });
    grip.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      chosen = index;
      const start = event.clientX;
      const each = zoom.total() / line.clientWidth;
      const [own, next] = [zoom.plan.journey[index], zoom.plan.journey[index + 1]];
      const before = [own.seconds, next?.seconds];
      // The line is drawn anew while it is dragged, so the window listens.
      const move = ({ clientX }) => {
        const most = next ? before[0] + before[1] - SHORTEST : limits.seconds;
        const wished = Math.round((before[0] + (clientX - start) * each) * 4) / 4;
        own.seconds = clamp(wished, SHORTEST, Math.max(SHORTEST, most));
        if (next) next.seconds = rounded(before[0] + before[1] - own.seconds);
        zoom.changed();
      };
      const stop = () => {
        removeEventListener("pointermove", move);
        removeEventListener("pointerup", stop);
        removeEventListener("pointercancel", stop);
      };
      addEventListener("pointermove", move);
      addEventListener("pointerup", stop);
      addEventListener("pointercancel", stop);
    });
    return grip;
  }

  function keys(event, index) {
    const last = zoom.plan.journey.length - 1;
    const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: last };
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      drop(index);
    } else if (event.key in to) {
      event.preventDefault();
      focus(clamp(to[event.key], 0, last));
    }
  }

  function focus(index) {
    line.children[index].querySelector("button").focus();
  }

  function drop(index) {
    const [gone] = zoom.plan.journey.splice(index, 1);
    chosen = Math.max(0, index - 1);
    if (!zoom.plan.journey.length) zoom.plan.seconds = Math.max(1, gone.seconds);
    zoom.changed();
    if (!zoom.plan.journey.length) begin.focus();
    else focus(chosen);
    studio.say(`${gone.what} is taken out.`);
  }

  function shift(by) {
    const [own] = zoom.plan.journey.splice(chosen, 1);
    chosen += by;
    zoom.plan.journey.splice(chosen, 0, own);
    zoom.changed();
    // A button that has come to the end cannot hold the focus.
    const again = by < 0 ? left : right;
    (again.disabled ? (by < 0 ? right : left) : again).focus();
  }

  /** A look for the next stretch that is not the one before it. */
  function another() {
    const used = new Set(zoom.plan.journey.map((each) => each.what));
    const wished = ["eyes", "coils", "garden", "textures", "towers", "feathers"];
    return (
      wished.find((name) => isPreset(name) && !used.has(name)) ??
      studio.start.presets.find((each) => !used.has(each.name))?.name ??
      "dream"
    );
  }

  begin.addEventListener("click", () => {
    const { look } = studio;
    // The settings of a file cannot go with presets: its target can.
    const first =
      look.target ?? (look.from ? studio.base().target : null) ?? look.preset ?? "dream";
    const half = Math.max(SHORTEST, Math.round(zoom.plan.seconds) / 2);
    zoom.plan.journey = [{ what: first, seconds: half }];
    zoom.plan.journey.push({ what: another(), seconds: half });
    chosen = 1;
    zoom.changed();
    focus(1);
  });
  add.addEventListener("click", () => {
    zoom.plan.journey.splice(chosen + 1, 0, { what: another(), seconds: 4 });
    chosen += 1;
    zoom.changed();
    focus(chosen);
  });
  left.addEventListener("click", () => shift(-1));
  right.addEventListener("click", () => shift(1));
  remove.addEventListener("click", () => drop(chosen));
  what.addEventListener("change", () => {
    if (what.value === "target") {
      zoom.plan.journey[chosen].what = studio.look.target ?? "block8:37";
      zoom.changed();
      target.value = zoom.plan.journey[chosen].what;
      target.focus();
      target.select();
    } else {
      zoom.plan.journey[chosen].what = what.value.slice("preset:".length);
      zoom.changed();
    }
  });
  target.addEventListener("change", () => {
    if (target.value.trim()) zoom.plan.journey[chosen].what = target.value.trim();
    zoom.changed();
  });
  picker.addEventListener("click", async () => {
    const found = await pick(studio, { title: "Pick what this part of the journey shows" });
    if (!found || !zoom.plan.journey[chosen]) return;
    zoom.plan.journey[chosen].what = found;
    zoom.changed();
    studio.say(`This part shows ${meaning(studio, found) || found}.`);
  });
  // Not while a number is typed: "1" on the way to "12" is no answer.
  seconds.addEventListener("change", () => {
    const value = Number(seconds.value);
    zoom.change({ seconds: clamp(value > 0 ? value : 10, SHORTEST, limits.seconds) });
    seconds.value = short(zoom.plan.seconds);
  });
  long.addEventListener("change", () => {
    const value = Number(long.value);
    if (value > 0) zoom.plan.journey[chosen].seconds = clamp(value, SHORTEST, limits.seconds);
    zoom.changed();
    long.value = short(zoom.plan.journey[chosen].seconds);
  });
  fade.addEventListener("change", () => {
    zoom.change({ fade: fade.value === "" ? null : clamp(Number(fade.value), 0, longestFade()) });
    fade.value = zoom.plan.fade ?? "";
  });

  return {
    node,
    draw,
    fill: fillPresets,
    first() {
      chosen = 0;
    },
  };
}
