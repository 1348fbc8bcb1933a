// Where a zoom goes: the photo, with frames of what is seen after one, two and three doublings.
import { el, short } from "./dom.js";
import { clamp, dial, range, rounded } from "./controls.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = 1.2; // a dreamed picture is so much larger than a frame, each way

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * What the film's first frame shows of the photo, in its pixels.
 *
 * The photo is cut about its middle to the film's shape, and a frame leaves the border of what is
 * dreamed to what comes next: see MARGIN in dreamer/core/zoom.py.
 */
function cut(photo, size) {
  const { width, height } = photo;
  const [across, down] = size ? size.split("x").map(Number) : [width, height];
  const scale = Math.min(width / across, height / down) / MARGIN;
  const [w, h] = [across * scale, down * scale];
  return { x: (width - w) / 2, y: (height - h) / 2, width: w, height: h };
}

/**
 * The corners of what is seen after some doublings, in the photo's pixels.
 *
 * The camera holds the centre where it is: a place p of the later view is f p + c (1 - f) of the
 * first, with |f| = 2^-doublings; see dreamer/core/camera.py.
 */
function frame(box, { center, speed, rotate }, doublings) {
  const f = 2 ** -doublings;
  const angle = (-rotate * (doublings / Math.log2(speed)) * Math.PI) / 180;
  const [cx, cy] = [box.x + center[0] * box.width, box.y + center[1] * box.height];
  const [cos, sin] = [f * Math.cos(angle), f * Math.sin(angle)];
  return [
    [0, 0],
    [1, 0],
    [1, 1],
    [0, 1],
  ].map(([u, v]) => {
    const [x, y] = [(u - center[0]) * box.width, (v - center[1]) * box.height];
    return [cx + cos * x - sin * y, cy + sin * x + cos * y];
  });
}

/** The photo and the place zoomed into: {node, draw}. It draws and changes `zoom.plan.center`. */
export function framing(zoom) {
  const picture = el("img", { class: "frame-photo", alt: "", draggable: false });
  const sky = el("div", { class: "frame-sky" });
  const overlay = svg("svg", { class: "frame-lines", "aria-hidden": "true" });
  const cross = el("div", { class: "frame-cross", "aria-hidden": "true" });
  const board = el("div", { class: "frame-board" }, sky, picture, overlay, cross);
  const across = range(0, 100, 1);
  const down = range(0, 100, 1);
  const percent = (value) => `${Math.round(value)} %`;
  const acrossDial = dial("Across", across, percent);
  const downDial = dial("Down", down, percent);
  const middle = el("button", { type: "button", class: "button quiet" }, "Back to the middle");
  const legend = el("p", { class: "hint frame-legend" });
  const node = el(
    "div",
    { class: "stack" },
    board,
    legend,
    el(
      "div",
      { class: "frame-place", role: "group", "aria-label": "The place zoomed into" },
      acrossDial.node,
      downDial.node,
      middle,
    ),
  );

  function draw() {
    const { width, height, url } = zoom.photo() ?? { width: 3, height: 2, url: null };
    const box = cut({ width, height }, zoom.plan.size);
    board.style.aspectRatio = `${width} / ${height}`;
    // As large as fits, both ways: a tall photo must not push everything else off the screen.
    board.style.width = `min(100%, ${rounded((width / height) * 52, 1)}vh)`;
    picture.hidden = !url;
    sky.hidden = Boolean(url);
    if (url && picture.getAttribute("src") !== url) picture.src = url;
    picture.alt = url ? `The photo ${zoom.photo().name}` : "";

    overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    overlay.replaceChildren();
    const outline = `M0 0H${width}V${height}H0Z`;
    const inner = `M${box.x} ${box.y}h${box.width}v${box.height}h${-box.width}Z`;
    overlay.append(svg("path", { class: "frame-cut", d: outline + inner, "fill-rule": "evenodd" }));
    const text = Math.min(width, height) / 24;
    for (const doublings of [1, 2, 3]) {
      const corners = frame(box, zoom.plan, doublings);
      const points = corners.map((each) => each.map((at) => rounded(at, 1)).join(",")).join(" ");
      overlay.append(
        svg("polygon", { class: "frame-halo", points }),
        svg("polygon", { class: `frame-line frame-${doublings}`, points }),
      );
      const label = svg("text", {
        class: "frame-text",
        x: corners[0][0] + text * 0.3,
        y: corners[0][1] + text * 1.1,
        "font-size": text * (1.1 - doublings * 0.15),
      });
      label.textContent = `${2 ** doublings}×`;
      if (Math.abs(zoom.plan.rotate) < 1) overlay.append(label);
    }
    const [u, v] = zoom.plan.center;
    const [cx, cy] = [box.x + u * box.width, box.y + v * box.height];
    cross.style.left = `${(cx / width) * 100}%`;
    cross.style.top = `${(cy / height) * 100}%`;
    across.value = u * 100;
    down.value = v * 100;
    acrossDial.show();
    downDial.show();
    middle.disabled = u === 0.5 && v === 0.5;
    const each = 1 / Math.log2(zoom.plan.speed);
    const times = [1, 2, 3].map((doublings) => short(each * doublings));
    legend.textContent =
      zoom.plan.direction === "in"
        ? `The frames are what is seen after ${times[0]}, ${times[1]} and ${times[2]} seconds, ` +
          "dreamed anew each time. What is dark is left out. Drag the cross, or use the sliders."
        : `The film comes out of the smallest frame: ${times[2]}, ${times[1]} and ${times[0]} ` +
          "seconds before its end. Drag the cross, or use the sliders.";
  }

  function place(x, y) {
    zoom.plan.center = [rounded(clamp(x, 0, 1), 3), rounded(clamp(y, 0, 1), 3)];
    zoom.changed();
  }
  function point(event) {
    const shape = board.getBoundingClientRect();
    const { width, height } = zoom.photo();
    const box = cut({ width, height }, zoom.plan.size);
    const x = ((event.clientX - shape.left) / shape.width) * width;
    const y = ((event.clientY - shape.top) / shape.height) * height;
    place((x - box.x) / box.width, (y - box.y) / box.height);
  }
  board.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    board.setPointerCapture(event.pointerId);
    point(event);
  });
  board.addEventListener("pointermove", (event) => {
    if (board.hasPointerCapture(event.pointerId)) point(event);
  });
  across.addEventListener("input", () => place(Number(across.value) / 100, zoom.plan.center[1]));
  down.addEventListener("input", () => place(zoom.plan.center[0], Number(down.value) / 100));
  middle.addEventListener("click", () => place(0.5, 0.5));

  return { node, draw };
}
