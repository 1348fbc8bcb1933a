// The photos of a batch: chosen, dropped, read one after another, and listed.
import { write } from "./controls.js";
import { clear, count, el, icon } from "./dom.js";
import { Problem, upload } from "./server.js";

const SMALL = 112; // px of a thumbnail

/** A file's size as people say it. */
function weight(bytes) {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/** Every file that was dropped, those in folders as well, by name. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const files = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      // A reader gives a hundred at a time, and nothing at the end.
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const each of some) await walk(each);
    }
  };
  for (const entry of entries) await walk(entry);
  return files;
}

/**
 * The list of photos: {node, draw, take, ids, recall, again, ready, pending}.
 *
 * `changed` hears of everything that changes which photos there are.
 */
export function photoList(studio, changed) {
  const { limits } = studio.start;
  // Films and presets can be dropped on the page, too, but are no photos.
  const endings = studio.start.accept
    .split(",")
    .map((each) => each.trim().toLowerCase())
    .filter((each) => ![".mp4", ".webm", ".toml"].includes(each));
  const photos = []; // {file, name, photo, state: "waiting" | "reading" | "here", node}
  const refused = []; // {name, why}
  let sent = 0; // of this round of uploads
  let round = 0;
  let sending = false;

  // The buttons stand for them, and say more.
  const folder = el("input", { type: "file", multiple: true, hidden: true });
  folder.webkitdirectory = true;
  const files = el("input", {
    type: "file",
    multiple: true,
    accept: endings.join(","),
    hidden: true,
  });
  const chooseFolder = el(
    "button",
    { type: "button", class: "button main", onclick: () => folder.click() },
    icon("folder"),
    "Choose a folder",
  );
  const chooseFiles = el(
    "button",
    { type: "button", class: "button", onclick: () => files.click() },
    icon("photo"),
    "Choose photos",
  );
  const useCurrent = el(
    "button",
    { type: "button", class: "button quiet", onclick: () => addCurrent() },
    icon("plus"),
    "Add the photo in use",
  );
  const clearAll = el(
    "button",
    { type: "button", class: "button quiet", onclick: () => removeAll() },
    icon("close"),
    "Remove all",
  );
  const list = el("ul", { class: "batch-photos", "aria-label": "Photos chosen" });
  const bar = el("progress", { class: "progress", max: "1", "aria-label": "Reading photos" });
  const counted = el("p", { class: "batch-count", role: "status" });
  const refusals = el("ul", {});
  const refusedBox = el(
    "details",
    { class: "note batch-refused", open: true },
    el("summary", {}),
    refusals,
    el(
      "button",
      {
        type: "button",
        class: "link",
        onclick: () => {
          refused.length = 0;
          draw();
        },
      },
      "Clear this list",
    ),
  );
  const inviting = el(
    "p",
    { class: "hint" },
    "Or drop photos, or a whole folder, anywhere on this page.",
  );
  const node = el(
    "section",
    { class: "card stack batch-intake", "aria-label": "Photos of the batch" },
    el("h2", {}, "Many photos at once"),
    el("div", { class: "row" }, chooseFolder, chooseFiles, useCurrent, clearAll),
    folder,
    files,
    inviting,
    counted,
    bar,
    refusedBox,
    list,
  );

  for (const input of [folder, files]) {
    input.addEventListener("change", () => {
      take([...input.files]);
      input.value = ""; // the same folder again is a choice, too
    });
  }

  /** Why a file is not taken; null if it may be. */
  function unfit(file) {
    const ending = `.${file.name.split(".").pop().toLowerCase()}`;
    if (!endings.includes(ending)) return "not a picture that can be read";
    if (file.size > limits.upload) return `larger than ${weight(limits.upload)}`;
    if (file.size === 0) return "empty";
    if (photos.length >= limits.batch) return `more than ${limits.batch} photos`;
    const same = photos.some(
      (each) =>
        each.file &&
        each.name === file.name &&
        each.file.size === file.size &&
        each.file.lastModified === file.lastModified,
    );
    return same ? "there already" : null;
  }

  function take(given) {
    const order = new Intl.Collator(undefined, { numeric: true });
    const path = (file) => file.webkitRelativePath || file.name;
    // Hidden files are no photos of anyone's.
    const wanted = given.filter((file) => !file.name.startsWith("."));
    wanted.sort((one, other) => order.compare(path(one), path(other)));
    for (const file of wanted) {
      const why = unfit(file);
      if (why) refused.push({ name: path(file), why });
      else photos.push(entry({ file, name: file.name }));
    }
    if (!sending) [sent, round] = [0, 0];
    round = sent + photos.filter((each) => each.state !== "here").length;
    changed();
    send();
  }

  function entry({ file = null, name, photo = null }) {
    const canvas = el("canvas", { width: SMALL, height: SMALL, "aria-hidden": "true" });
    const about = el("span", { class: "hint" });
    const each = { file, name, photo, state: photo ? "here" : "waiting", canvas, about };
    each.picture = el("span", { class: "batch-picture" }, canvas);
    each.node = el(
      "li",
      { class: "batch-photo" },
      each.picture,
      el("span", { class: "batch-name" }, el("span", { title: name }, name), about),
      el(
        "button",
        {
          type: "button",
          class: "button quiet square",
          "aria-label": `Remove ${name}`,
          onclick: () => remove(each),
        },
        icon("close"),
      ),
    );
    return each;
  }

  function addCurrent() {
    const photo = studio.current;
    photos.push(entry({ name: photo.name, photo }));
    thumbnail(photos.at(-1));
    changed();
  }

  function remove(each) {
    const at = photos.indexOf(each);
    photos.splice(at, 1);
    each.node.remove();
    if (each.state === "waiting") round -= 1;
    changed();
    const next = photos[Math.min(at, photos.length - 1)];
    (next?.node.querySelector("button") ?? chooseFolder).focus();
  }

  function removeAll() {
    for (const each of photos) each.node.remove();
    photos.length = 0;
    refused.length = 0;
    [sent, round] = [0, 0];
    changed();
    chooseFolder.focus();
  }

  /** Draw a photo small, from the file itself: large pictures are not kept for it. */
  async function thumbnail(each) {
    try {
      const source = each.file ?? (await (await fetch(each.photo.url)).blob());
      const whole = await createImageBitmap(source);
      const side = Math.min(whole.width, whole.height);
      each.canvas
        .getContext("2d")
        .drawImage(
          whole,
          (whole.width - side) / 2,
          (whole.height - side) / 2,
          side,
          side,
          0,
          0,
          SMALL,
          SMALL,
        );
      whole.close();
    } catch {
      // A kind that the browser does not know: the studio's own preview does.
      const url = each.photo?.url;
      if (url) clear(each.picture, el("img", { src: url, alt: "", loading: "lazy" }));
    }
  }

  /** Give the server the photos that wait, one after another. */
  async function send() {
    if (sending) return;
    sending = true;
    try {
      for (;;) {
        const each = photos.find((one) => one.state === "waiting");
        if (!each) break;
        each.state = "reading";
        draw();
        try {
          const answer = await upload(each.file, "photo");
          if (!answer.file) throw new Problem("it is a film, not a photo");
          if (photos.some((other) => other.photo?.id === answer.file.id)) {
            throw new Problem("there already");
          }
          each.photo = answer.file;
          each.state = "here";
          studio.photos.set(answer.file.id, answer.file);
          await thumbnail(each);
        } catch (problem) {
          if (!(problem instanceof Problem)) throw problem;
          refuse(each, [problem.message, problem.advice].filter(Boolean).join(" "));
        }
        sent += 1;
        changed();
      }
    } finally {
      sending = false;
      changed();
    }
  }

  function refuse(each, why) {
    const at = photos.indexOf(each);
    if (at >= 0) photos.splice(at, 1);
    each.node.remove();
    refused.push({ name: each.name, why });
  }

  function draw() {
    const any = photos.length > 0;
    const left = photos.filter((each) => each.state !== "here").length;
    chooseFolder.classList.toggle("main", !any);
    list.hidden = !any;
    clearAll.hidden = !any;
    inviting.hidden = any;
    bar.hidden = !left;
    bar.value = round ? sent / round : 0;
    write(
      counted,
      left
        ? `Reading: ${Math.min(sent + 1, round)} of ${round}`
        : any
          ? `${count(photos.length, "photo")}`
          : "",
    );
    counted.hidden = !any && !left;
    const now = studio.current;
    useCurrent.hidden = !now || photos.some((each) => each.photo?.id === now.id);
    if (now) useCurrent.lastChild.textContent = `Add ${now.name}`;
    for (const each of photos) {
      if (each.node.parentNode !== list) list.append(each.node);
      const { photo, file, state } = each;
      each.about.textContent = [
        photo ? `${photo.width} × ${photo.height}` : "",
        file ? weight(file.size) : "",
        state === "reading" ? "reading" : state === "waiting" ? "waiting" : "",
      ]
        .filter(Boolean)
        .join(", ");
      each.node.classList.toggle("batch-pending", state !== "here");
    }
    refusedBox.hidden = !refused.length;
    refusedBox.querySelector("summary").textContent =
      `${count(refused.length, "file was", "files were")} not taken; the rest goes on`;
    clear(
      refusals,
      refused.map(({ name, why }) => el("li", {}, el("b", {}, name), `: ${why}`)),
    );
  }

  return {
    node,
    draw,
    take,
    /** How many can be dreamed on. */
    ready: () => photos.filter((each) => each.state === "here").length,
    /** How many are still to be read. */
    pending: () => photos.filter((each) => each.state !== "here").length,
    ids: () => photos.filter((each) => each.photo).map((each) => each.photo.id),
    /** Take up photos that the server has already. */
    recall(ids) {
      for (const id of ids) {
        const photo = studio.photos.get(id);
        if (!photo || photos.some((each) => each.photo?.id === id)) continue;
        photos.push(entry({ name: photo.name, photo }));
        thumbnail(photos.at(-1));
      }
    },
    /** After a restart the server knows no photo: those from files are read again. */
    again() {
      for (const each of [...photos]) {
        if (each.state !== "here" || studio.photos.has(each.photo.id)) continue;
        if (each.file) each.state = "waiting";
        else if (!studio.painted[each.photo.id]) {
          refuse(each, "not in the studio any more");
        }
      }
      if (photos.some((each) => each.state === "waiting")) take([]);
    },
  };
}
