// The dials of a look: each shows what the preset says until it is turned, and finds back to it.

import { clear, count, el, icon, short, uid } from "./dom.js";
import { write } from "./controls.js";
import { upload } from "./server.js";
import { going } from "./jobs.js";
import { paint } from "./mask.js";

const WORDS = {
  draft: "Draft", normal: "Normal", fine: "Fine",
  free: "Free", keep: "Kept", luma: "Light only",
  pixel: "Pixels", fourier: "Waves", maco: "Photo's waves",
  faces: "Faces", edges: "Edges", dark: "The dark", light: "The light",
  guide: "Shapes", style: "Style", like: "Caricature",
};
const ABOUT = {
  draft: "A sketch in a third of the work", normal: "As the preset promises",
  fine: "Cleaner detail, two to three times the work",
  free: "Colours dream as well", keep: "Colours stay near the photo's",
  luma: "Only the light changes",
  pixel: "Every pixel moves", fourier: "Waves move, the coarse ones most",
  maco: "Only the photo's own waves move",
};
const HOW = {
  guide: "Its shapes grow in your photo, place by place",
  style: "Your photo is painted as it is painted; the preset brush suits it",
  like: "More of what it shows, where it shows it",
};

/** Whether the page is touched, so that nothing can be dropped on it or pasted by a key. */
export function touched() {
  return matchMedia("(pointer: coarse)").matches;
}

/** A word of the wire, as the user reads it. */
function word(name) {
  return WORDS[name] ?? name;
}

/** Build the dials into root; they follow studio.look by themselves. */
export function dials(root, studio) {
  const updates = [];
  const { ranges, choices, levels, sizes } = studio.start;

  /** The button that finds back to the preset, there when a dial was turned. */
  function back(name, is, reset) {
    const button = el("button", {
      class: "link back", type: "button", "aria-label": `${name}: as the preset`,
      title: "Back to what the preset says",
      onclick: () => {
        const host = button.closest(".field, fieldset");
        reset();
        // The button is gone now; keep the place for the keyboard.
        (host?.querySelector("input:checked, input, select") ?? root).focus();
      },
    }, "as preset");
    const note = el("span", { class: "hint" }, "preset");
    updates.push(() => {
      button.hidden = !is();
      note.hidden = is();
    });
    return el("span", { class: "value" }, button, note);
  }

  const isSet = (key) => studio.look[key] !== null && studio.look[key] !== undefined;
  const value = (key) => (isSet(key) ? studio.look[key] : studio.base()[key]);

  function range(key, name, { most = ranges[key].most, step = 0.05, whole = false } = {}) {
    const id = uid(key);
    const { least, most: limit, help } = ranges[key];
    const turn = (text) => {
      const number = Number(text);
      if (text === "" || Number.isNaN(number)) return update();
      const within = Math.min(limit, Math.max(least, whole ? Math.round(number) : number));
      studio.change({ [key]: within }, key);
    };
    const slide = el("input", {
      type: "range", id, min: least, max: most, step, oninput: () => turn(slide.value),
      "aria-describedby": `${id}-help`,
    });
    const exact = el("input", {
      type: "number", min: least, max: limit, step: "any", "aria-label": `${name}, as a number`,
      onchange: () => turn(exact.value),
    });
    function update() {
      const now = value(key) ?? ranges[key].usual;
      slide.value = now;
      exact.value = short(now);
      if (whole && !now) slide.setAttribute("aria-valuetext", "as needed");
      else slide.removeAttribute("aria-valuetext");
    }
    updates.push(update);
    return el("div", { class: "field", title: help },
      el("label", { for: id }, name),
      back(name, () => isSet(key), () => studio.change({ [key]: null })),
      el("div", { class: "control slide" }, slide, exact),
      el("p", { class: "visually-hidden", id: `${id}-help` }, help));
  }

  function segments(name, options, { get, put, has, reset, about = {}, text = word }) {
    const group = uid("choice");
    const inputs = options.map((option) => el("input", {
      type: "radio", name: group, value: option, class: "visually-hidden",
      onchange: () => put(option),
    }));
    updates.push(() => {
      const now = get();
      for (const input of inputs) input.checked = input.value === now;
    });
    return el("fieldset", { class: "field segmented" },
      el("legend", { class: "visually-hidden" }, name),
      el("span", { class: "label", "aria-hidden": "true" }, name),
      back(name, has, reset),
      el("div", { class: `control segments of-${options.length}` }, options.map((option, index) =>
        el("label", { class: "segment", title: about[option] }, inputs[index],
          el("span", null, text(option))))));
  }

  const choice = (key, name) => segments(name, choices[key], {
    about: ABOUT,
    get: () => value(key),
    has: () => isSet(key),
    put: (option) => studio.change({ [key]: option }),
    reset: () => studio.change({ [key]: null }),
  });

  // What to dream of

  const detail = segments("Detail", levels, {
    get: () => studio.look.target ?? studio.base().target,
    has: () => levels.includes(studio.look.target),
    text: (level) => level[0].toUpperCase() + level.slice(1),
    put: (level) => studio.change({ target: level }),
    reset: () => studio.change({ target: null }),
  });

  const targetId = uid("target");
  const target = el("input", {
    type: "text", id: targetId, autocomplete: "off", spellcheck: false, autocapitalize: "off",
    "aria-describedby": `${targetId}-hint`,
    onchange: () => studio.change({ target: target.value.trim() || null }),
  });
  updates.push(() => {
    target.placeholder = studio.base().target || "as the preset";
    // Do not take text away from under the hands of who is typing.
    if (document.activeElement !== target || !target.value.trim()) {
      target.value = studio.look.target ?? "";
    }
  });
  const targets = el("div", { class: "field" },
    el("label", { for: targetId }, "Target"),
    back("Target", () => isSet("target"), () => studio.change({ target: null })),
    target,
    el("p", { class: "hint", id: `${targetId}-hint` },
      "Such as ", el("code", null, "block8:37"), " or ",
      el("code", null, "parts + 0.5*class:zebra")),
    el("div", { class: "control row" },
      el("button", {
        class: "button", type: "button",
        onclick: async () => {
          const picked = await studio.picker({
            start: studio.look.target ?? studio.base().target,
          });
          if (picked) studio.change({ target: picked });
        },
      }, "Pick a channel or class..."),
      suggestions().button));

  // What suits the photo

  function suggestions() {
    if (suggestions.made) return suggestions.made;
    const button = el("button", {
      class: "button", type: "button", onclick: () => {
        const photo = studio.current?.id;
        if (photo) studio.ask("/api/suggest", { photo });
      },
    }, "What suits this photo?");
    const list = el("div", {
      class: "suggestions", role: "group", "aria-label": "What suits this photo",
    });
    let drawn = "";
    function update() {
      const job = studio.current ? studio.job("suggest") : null;
      button.disabled = !studio.current;
      button.hidden = Boolean(job) && !going(job);
      button.setAttribute("aria-disabled", String(Boolean(job && going(job))));
      button.firstChild.textContent = job && going(job)
        ? (job.status === "waiting" ? "Waiting..." : "Looking...") : "What suits this photo?";
      const found = job?.result?.suggestions ?? [];
      const key = `${job?.id}/${found.length}`;
      if (key !== drawn) {
        drawn = key;
        clear(list, found.map((it) => el("button", {
          class: "thumb", type: "button", "aria-pressed": "false", dataset: { target: it.target },
          title: it.target,
          onclick: () => studio.change({ target: it.target }),
        },
        it.url
          ? el("img", { src: it.url, alt: "", loading: "lazy" })
          : el("span", { class: "blank" }),
        el("span", null, el("b", null, it.target), it.why && el("small", null, it.why)))));
      }
      for (const thumb of list.children) {
        thumb.setAttribute("aria-pressed", String(thumb.dataset.target === studio.look.target));
      }
      list.hidden = found.length === 0;
    }
    updates.push(update);
    suggestions.made = { button, list };
    return suggestions.made;
  }

  // What stays

  const keeps = el("fieldset", { class: "field" },
    el("legend", { class: "visually-hidden" }, "Keep"),
    el("span", { class: "label", "aria-hidden": "true" }, "Keep"),
    back("Keep", () => isSet("keep"), () => studio.change({ keep: null })),
    el("div", { class: "control checks" }, choices.keep.map((what) => {
      const box = el("input", {
        type: "checkbox", onchange: () => {
          const now = new Set(value("keep") ?? []);
          if (box.checked) now.add(what);
          else now.delete(what);
          studio.change({ keep: choices.keep.filter((it) => now.has(it)) });
        },
      });
      updates.push(() => {
        box.checked = (value("keep") ?? []).includes(what);
      });
      return el("label", { class: "check" }, box, word(what));
    })));

  const place = mask(studio, updates);
  const other = guide(studio, updates);

  // Size and seed

  const sizeId = uid("size");
  const size = el("select", {
    id: sizeId, onchange: () => studio.set({ size: size.value ? Number(size.value) : null }),
  });
  updates.push(() => {
    const photo = studio.current;
    const own = photo ? `The photo's own (${photo.width} × ${photo.height})` : "The photo's own";
    const known = sizes.includes(studio.size) || studio.size === null
      ? sizes : [...sizes, studio.size].sort((a, b) => a - b);
    const options = known.map((each) => [String(each), `${each} px`]).concat([["", own]]);
    const key = JSON.stringify(options);
    if (size.dataset.key !== key) {
      size.dataset.key = key;
      clear(size, options.map(([is, text]) => el("option", { value: is }, text)));
    }
    size.value = studio.size === null ? "" : String(studio.size);
  });

  const seedId = uid("seed");
  const seed = el("input", {
    type: "number", id: seedId, min: 0, max: 2 ** 32 - 1, step: 1, onchange: () => {
      const number = Math.round(Number(seed.value));
      if (seed.value !== "" && number >= 0 && number < 2 ** 32) studio.set({ seed: number });
      else seed.value = studio.seed;
    },
  });
  updates.push(() => {
    seed.value = studio.seed;
  });

  const more = el("details", { class: "more" },
    el("summary", null, "More"),
    el("div", { class: "stack" },
      range("octaves", "Octaves", { step: 1, whole: true }),
      el("p", { class: "hint" },
        "Scales from coarse to fine; 0 takes as many as the picture needs."),
      choice("canvas", "What moves"),
      range("blend", "Blend the photo back")));

  root.append(
    section("Look",
      range("strength", "Strength", { most: Math.min(3, ranges.strength.most) }), detail,
      choice("quality", "Quality"), choice("color", "Colours")),
    section("Size and chance",
      el("div", { class: "pair" },
        el("div", { class: "field" }, el("label", { for: sizeId }, "Longer side"), size),
        el("div", { class: "field" }, el("label", { for: seedId }, "Seed"),
          el("div", { class: "control seed" }, seed,
            el("button", {
              class: "button square", type: "button", "aria-label": "Another seed",
              title: "Another dream of the same photo",
              onclick: () => studio.set({ seed: 1 + Math.floor(Math.random() * 99998) }),
            }, icon("dice")))))),
    section("What to dream of", targets, suggestions().list),
    section("Where, and what stays", place, keeps, range("likeness", "Likeness")),
    section("Another picture", other),
    more);

  const update = () => {
    for (const fn of updates) fn();
  };
  studio.on("look", update);
  studio.on("current", update);
  studio.on("state", update);
  studio.on("presets", update);
  studio.on("job", (job) => {
    if (job.kind === "suggest") suggestions.made && update();
  });
  update();
}

function section(title, ...children) {
  const id = uid("dials");
  return el("section", { class: "dials-part stack", "aria-labelledby": id },
    el("h3", { id }, title), children);
}

// The mask

function mask(studio, updates) {
  const button = el("button", {
    class: "button", type: "button", onclick: async () => {
      const photo = studio.current;
      if (!photo) return;
      const now = studio.look.mask;
      const file = now && studio.photos.get(now.photo);
      try {
        const made = await paint({
          photo, feather: studio.start.ranges.feather,
          mask: file ? { ...now, url: file.url } : null,
        });
        button.focus();
        if (!made) return;
        if (!made.blob) {
          studio.change({ mask: null });
          studio.say("Nothing is painted, so there is no mask.");
          return;
        }
        const name = `${photo.name.replace(/\.\w+$/, "")}-mask.png`;
        const answer = await upload(new File([made.blob], name, { type: "image/png" }), "mask");
        studio.photos.set(answer.file.id, answer.file);
        const { invert, feather } = made;
        studio.change({ mask: { photo: answer.file.id, invert, feather } });
        studio.say("It dreams only where you painted.");
      } catch (problem) {
        studio.tell(problem);
      }
    },
  }, icon("brush"), el("span", null, "Paint where..."));
  const chip = el("div", { class: "chip" });
  updates.push(() => {
    const now = studio.look.mask;
    const file = now && studio.photos.get(now.photo);
    button.disabled = !studio.current;
    button.lastChild.textContent = now ? "Paint on..." : "Paint where...";
    chip.hidden = !now;
    const key = JSON.stringify(now);
    if (!now || chip.dataset.key === key) {
      if (!now) chip.dataset.key = "";
      return;
    }
    chip.dataset.key = key;
    clear(chip,
      file && el("img", { src: file.url, alt: "The mask: it dreams where it is white" }),
      el("span", null,
        now.invert ? "Dreams everywhere but in the mask" : "Dreams only in the mask"),
      el("button", {
        class: "button quiet square", type: "button", "aria-label": "Remove the mask",
        onclick: () => {
          studio.change({ mask: null });
          button.focus();
        },
      }, icon("close")));
  });
  return el("div", { class: "stack tight" }, el("div", { class: "row" }, button), chip);
}

// A second picture

function guide(studio, updates) {
  const { choices, levels } = studio.start;
  const { share } = studio.start.ranges;
  const ids = {
    how: uid("how"), level: uid("level"), weight: uid("weight"), rest: uid("rest"),
  };

  async function take(files) {
    if (!files?.length) return;
    try {
      const { file } = await upload(files[0], "guide");
      studio.photos.set(file.id, file);
      const usual = { level: "parts", how: choices.guide[0], weight: share.usual };
      const now = studio.look.guide ?? usual;
      studio.change({ guide: { ...now, photo: file.id } });
    } catch (problem) {
      studio.tell(problem);
    }
  }
  const put = (patch, key = "") => {
    studio.change({ guide: { ...studio.look.guide, ...patch } }, key);
  };

  const choose = el("button", {
    class: "button", type: "button",
    onclick: async () => take(await studio.choose(studio.start.accept, false)),
  }, icon("photo"), el("span", null, "Choose a picture..."));
  const empty = el("div", { class: "stack tight" },
    el("p", { class: "hint" }, touched()
      ? "Lend the shapes or the style of a second picture."
      : "Lend the shapes or the style of a second picture: choose it, or drop it here."));
  const how = el("select", { id: ids.how, onchange: () => put({ how: how.value }) },
    choices.guide.map((each) => el("option", { value: each }, word(each))));
  const level = el("select", { id: ids.level, onchange: () => put({ level: level.value }) },
    levels.map((each) => el("option", { value: each }, each)));
  const weight = el("input", {
    type: "range", id: ids.weight, min: share.least, max: share.most, step: 0.05,
    "aria-describedby": ids.rest,
    oninput: () => put({ weight: Number(weight.value) }, "guide-weight"),
  });
  const told = el("output", { for: ids.weight });
  const rest = el("p", { class: "hint", id: ids.rest });
  const about = el("p", { class: "hint" });
  const chip = el("div", { class: "chip" });
  const controls = el("div", { class: "stack tight" }, chip,
    el("div", { class: "pair" },
      el("div", { class: "field" }, el("label", { for: ids.how }, "Lend its"), how),
      el("div", { class: "field" }, el("label", { for: ids.level }, "At the level of"), level)),
    about,
    el("div", { class: "field" }, el("label", { for: ids.weight }, "Share"), told, weight,
      rest));
  updates.push(() => {
    const now = studio.look.guide;
    empty.hidden = Boolean(now);
    controls.hidden = !now;
    choose.lastChild.textContent = now ? "Another picture..." : "Choose a picture...";
    if (!now) return;
    const file = studio.photos.get(now.photo);
    how.value = now.how;
    level.value = now.level;
    weight.value = now.weight;
    const text = `${Math.round(now.weight * 100)} %`;
    write(told, text);
    weight.setAttribute("aria-valuetext", text);
    const { target, from } = studio.look;
    const own = target ? `the target ${target}` : `the ${from ? "file" : "preset"}'s own target`;
    write(rest, now.weight < 1 ? `The rest is ${own}` : `Nothing of ${own} is left`);
    about.textContent = HOW[now.how] ?? "";
    if (chip.dataset.key === now.photo) return;
    chip.dataset.key = now.photo;
    clear(chip,
      file && el("img", { src: file.url, alt: "" }),
      el("span", null, file?.name ?? "A second picture"),
      el("button", {
        class: "button quiet square", type: "button", "aria-label": "Remove the second picture",
        onclick: () => {
          studio.change({ guide: null });
          choose.focus();
        },
      }, icon("close")));
  });

  const zone = el("div", { class: "guide-zone stack tight" }, empty, controls,
    el("div", { class: "row" }, choose));
  let depth = 0;
  const over = (by) => {
    depth = by ? Math.max(0, depth + by) : 0;
    zone.classList.toggle("over", depth > 0);
  };
  zone.addEventListener("dragenter", () => over(1));
  zone.addEventListener("dragleave", () => over(-1));
  zone.addEventListener("drop", (event) => {
    over(0);
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  return zone;
}

/** What a look says beyond its preset, in a few words: "2 dials, a mask". */
export function turned(look) {
  const parts = [];
  const keys = ["strength", "octaves", "quality", "color", "blend", "likeness", "canvas", "keep"];
  const set = keys.filter((key) => look[key] !== null && look[key] !== undefined).length;
  if (look.target) parts.push(`the target ${look.target}`);
  if (set) parts.push(count(set, "dial"));
  if (look.mask) parts.push("a mask");
  if (look.guide) parts.push("a second picture");
  return parts.join(", ");
}
