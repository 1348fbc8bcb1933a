// Painting where to dream: a canvas over the photo, by pointer, finger or keyboard.

import { write } from "./controls.js";
import { el, icon, uid } from "./dom.js";

const LONGEST = 1024; // px: as fine as a mask with a soft edge has to be
const TINT = [229, 92, 40];

/** Whether anything is painted on a canvas. */
function touched(canvas) {
  const { width, height } = canvas;
  const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  for (let i = 3; i < data.length; i += 4) if (data[i] > 127) return true;
  return false;
}

/** A picture from the server, loaded. */
async function picture(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

/**
 * Draw a mask's picture (white is where it dreams) as a tint, clear elsewhere.
 *
 * Returns a canvas of the mask's own size.
 */
export async function tinted(url, invert = false) {
  const image = await picture(url);
  const canvas = el("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < data.data.length; i += 4) {
    const white = data.data[i + 1];
    data.data[i] = TINT[0];
    data.data[i + 1] = TINT[1];
    data.data[i + 2] = TINT[2];
    data.data[i + 3] = (invert ? 255 - white : white) * 0.5;
  }
  context.putImageData(data, 0, 0);
  return canvas;
}

/**
 * Let the user paint a mask over a photo, in a dialog.
 *
 * Args: the photo ({name, url, width, height}), the mask there is ({url, invert, feather}) or
 * null, the range of the feather. Returns {blob, invert, feather} (a PNG, white where to dream;
 * null where nothing is painted), or null if it was given up.
 */
export async function paint({ photo, mask = null, feather: range }) {
  const scale = Math.min(1, LONGEST / Math.max(photo.width, photo.height));
  const width = Math.max(1, Math.round(photo.width * scale));
  const height = Math.max(1, Math.round(photo.height * scale));
  const longer = Math.max(width, height);

  // What is painted: opaque where it dreams. What is seen is made of it.
  const painted = el("canvas", { width, height }).getContext("2d", { willReadFrequently: false });
  const seen = el("canvas", {
    class: "paint-canvas", width, height, tabIndex: 0, role: "application",
    "aria-label": "Painting area: the arrow keys move the brush, with Shift further; "
      + "Space paints or erases there; plus and minus change its size",
  });
  const view = seen.getContext("2d");
  const base = el("canvas", { width, height });
  if (mask) await restoreBase(mask.url);

  let strokes = [];
  let erase = false;
  let invert = Boolean(mask?.invert);
  let size = 0.14; // of the longer side
  let cursor = { x: width / 2, y: height / 2, on: false };
  let stroke = null;
  let pending = 0;

  async function restoreBase(url) {
    const image = await picture(url);
    const context = base.getContext("2d");
    context.drawImage(image, 0, 0, width, height);
    const data = context.getImageData(0, 0, width, height);
    for (let i = 0; i < data.data.length; i += 4) {
      data.data[i + 3] = data.data[i + 1];
      data.data[i] = data.data[i + 1] = data.data[i + 2] = 255;
    }
    context.putImageData(data, 0, 0);
  }

  function drawStroke(context, { points, radius, away }) {
    context.globalCompositeOperation = away ? "destination-out" : "source-over";
    context.strokeStyle = context.fillStyle = "#fff";
    context.lineWidth = 2 * radius;
    context.lineCap = context.lineJoin = "round";
    // A line of no length draws nothing, and a single touch is one.
    context.beginPath();
    context.arc(points[0].x, points[0].y, radius, 0, 2 * Math.PI);
    context.fill();
    context.beginPath();
    context.moveTo(points[0].x, points[0].y);
    for (const { x, y } of points.slice(1)) context.lineTo(x, y);
    context.stroke();
    context.globalCompositeOperation = "source-over";
  }

  function repaint() {
    painted.clearRect(0, 0, width, height);
    const last = strokes.map((it) => it.clear ?? false).lastIndexOf(true);
    if (last < 0) painted.drawImage(base, 0, 0);
    for (const it of strokes.slice(last + 1)) drawStroke(painted, it);
    show();
  }

  // Drawn when something changed, and then only once a frame.
  function show() {
    if (!pending) pending = requestAnimationFrame(draw);
  }

  function draw() {
    pending = 0;
    view.globalCompositeOperation = "source-over";
    view.clearRect(0, 0, width, height);
    view.drawImage(painted.canvas, 0, 0);
    // The tint goes where there is paint, or, inverted, where there is none.
    view.globalCompositeOperation = invert ? "source-out" : "source-in";
    view.fillStyle = `rgb(${TINT.join(" ")} / 55%)`;
    view.fillRect(0, 0, width, height);
    view.globalCompositeOperation = "source-over";
    if (cursor.on) {
      const unit = width / (seen.clientWidth || width);
      for (const [colour, line] of [["#000", 4], ["#fff", 2]]) {
        view.strokeStyle = colour;
        view.lineWidth = line * unit;
        view.setLineDash(erase ? [6 * unit, 5 * unit] : []);
        view.beginPath();
        view.arc(cursor.x, cursor.y, radius(), 0, 2 * Math.PI);
        view.stroke();
      }
      view.setLineDash([]);
    }
  }

  const radius = () => (size * longer) / 2;

  function begin(point) {
    stroke = { points: [point], radius: radius(), away: erase };
    strokes.push(stroke);
    drawStroke(painted, stroke);
    changed();
  }

  function goOn(point) {
    const last = stroke.points[stroke.points.length - 1];
    stroke.points.push(point);
    drawStroke(painted, { ...stroke, points: [last, point] });
    show();
  }

  function changed() {
    undo.disabled = strokes.length === 0;
    show();
  }

  function at(event) {
    const box = seen.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * width,
      y: ((event.clientY - box.top) / box.height) * height,
    };
  }

  seen.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    seen.focus({ preventScroll: true, focusVisible: false });
    seen.setPointerCapture(event.pointerId);
    begin(at(event));
  });
  seen.addEventListener("pointermove", (event) => {
    cursor = { ...at(event), on: event.pointerType !== "touch" || stroke !== null };
    if (stroke) for (const one of event.getCoalescedEvents?.() ?? [event]) goOn(at(one));
    show();
  });
  const end = () => {
    stroke = null;
  };
  seen.addEventListener("pointerup", end);
  seen.addEventListener("pointercancel", end);
  seen.addEventListener("pointerleave", () => {
    if (!stroke && document.activeElement !== seen) cursor.on = false;
    show();
  });
  seen.addEventListener("focus", () => {
    cursor.on = true;
    show();
  });
  seen.addEventListener("blur", () => {
    cursor.on = false;
    stroke = null;
    show();
  });
  seen.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = (event.shiftKey ? 0.1 : 0.02) * longer;
    const [dx, dy] = {
      ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by],
    }[event.key] ?? [0, 0];
    if (dx || dy) {
      cursor.x = Math.min(width, Math.max(0, cursor.x + dx));
      cursor.y = Math.min(height, Math.max(0, cursor.y + dy));
      cursor.on = true;
      // Space held down while moving draws a line.
      if (stroke) goOn({ x: cursor.x, y: cursor.y });
      show();
    } else if (event.key === " ") {
      if (!event.repeat) begin({ x: cursor.x, y: cursor.y });
    } else if (event.key === "+" || event.key === "=") resize(size * 1.2);
    else if (event.key === "-") resize(size / 1.2);
    else if (event.key === "e") press(!erase);
    else return;
    event.preventDefault();
  });
  seen.addEventListener("keyup", (event) => {
    if (event.key === " ") end();
  });

  function resize(next) {
    size = Math.min(0.5, Math.max(0.01, next));
    brush.value = String(Math.round(size * 100));
    show();
  }

  function press(next) {
    erase = next;
    eraser.setAttribute("aria-pressed", String(erase));
    show();
  }

  const ids = { brush: uid("brush"), feather: uid("feather") };
  const brush = el("input", {
    type: "range", id: ids.brush, min: 1, max: 50, step: 1, value: size * 100,
    oninput: () => resize(brush.value / 100),
  });
  const soft = el("input", {
    type: "range", id: ids.feather, min: range.least, max: Math.min(range.most, 0.2), step: 0.005,
    value: mask?.feather ?? range.usual, oninput: () => {
      write(told, `${Math.round(soft.value * 1000) / 10}%`);
    },
  });
  const told = el("output", { for: ids.feather }, `${Math.round(soft.value * 1000) / 10}%`);
  const button = (name, sign, run, more = {}) => el("button", {
    class: "button", type: "button", onclick: run, ...more,
  }, sign && icon(sign), name);
  const eraser = button("Erase", null, () => press(!erase), { "aria-pressed": "false" });
  const inverter = button("Invert", null, () => {
    invert = !invert;
    inverter.setAttribute("aria-pressed", String(invert));
    show();
  }, { "aria-pressed": String(invert), title: "Dream everywhere but where it is painted" });
  const undo = button("Undo stroke", "undo", () => {
    strokes.pop();
    repaint();
    changed();
  }, { disabled: true });
  const wipe = button("Clear", null, () => {
    strokes.push({ clear: true });
    repaint();
    changed();
  });

  const heading = uid("paint");
  const dialog = el("dialog", { class: "painter", "aria-labelledby": heading },
    el("header", { class: "row" },
      el("h2", { id: heading }, "Paint where to dream"),
      el("p", { class: "hint push" },
        "Arrow keys move the brush, ", el("kbd", null, "Space"), " paints")),
    el("div", { class: "paint-tools row" },
      el("div", { class: "field" }, el("label", { for: ids.brush }, "Brush"), brush),
      eraser, undo, wipe, inverter,
      el("div", { class: "field" }, el("label", { for: ids.feather }, "Soft edge"), told, soft)),
    el("div", { class: "paint-area" },
      el("div", { class: "paint-frame" },
        photo.url ? el("img", { src: photo.url, alt: "", draggable: false })
          : el("div", { class: "paint-blank" }),
        seen)),
    el("footer", { class: "row" },
      el("button", {
        class: "button push", type: "button", onclick: () => dialog.close(),
      }, "Cancel"),
      el("button", { class: "button main", type: "button", onclick: () => dialog.close("use") },
        "Use this mask")));
  dialog.style.setProperty("--ratio", String(width / height));
  dialog.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      event.preventDefault();
      undo.click();
    }
  });

  repaint();
  document.body.append(dialog);
  dialog.showModal();
  seen.focus();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  cancelAnimationFrame(pending);
  dialog.remove();
  if (dialog.returnValue !== "use") return null;

  if (!touched(painted.canvas)) return { blob: null, invert, feather: Number(soft.value) };
  const result = el("canvas", { width, height });
  const context = result.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  context.drawImage(painted.canvas, 0, 0);
  const blob = await new Promise((resolve) => result.toBlob(resolve, "image/png"));
  return { blob, invert, feather: Number(soft.value) };
}
