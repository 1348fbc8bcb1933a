// Small helpers that build the page. Everything is made by DOM calls, so that a name is always
// text and never markup.

/**
 * Make an element.
 *
 * `class`, `role`, `aria-*` and `data-*` are attributes, `on<event>` a listener, `dataset` and
 * `style` objects, anything else a property where the element has it. What is null, undefined or
 * false is left out. Children are nodes, text, lists of them, or null.
 */
export function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  // A range takes its value only when its limits are there.
  const entries = Object.entries(attributes ?? {});
  entries.sort(([a], [b]) => (a === "value") - (b === "value"));
  for (const [name, value] of entries) set(node, name, value);
  node.append(...flat(children));
  return node;
}

/** Set one attribute, listener or property, as `el` does. */
function set(node, name, value) {
  if (name === "dataset") Object.assign(node.dataset, value);
  else if (name === "style") {
    for (const [key, what] of Object.entries(value)) node.style.setProperty(key, what);
  } else if (name.startsWith("on") && typeof value === "function") {
    node.addEventListener(name.slice(2).toLowerCase(), value);
  } else if (name.startsWith("aria-")) {
    // Of these, "false" says something else than nothing.
    if (value === null || value === undefined) node.removeAttribute(name);
    else node.setAttribute(name, String(value));
  } else if (value === null || value === undefined || value === false) {
    if (name in node && typeof node[name] === "boolean") node[name] = false;
    else node.removeAttribute(name);
  } else if (name === "class") node.className = value;
  else if (name === "for") node.htmlFor = value;
  else if (name in node && !["role", "list", "form", "download"].includes(name)) {
    node[name] = value;
  } else node.setAttribute(name, value === true ? "" : value);
}

function flat(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false);
}

/** The first element that matches, or null. */
export function $(selector, root = document) {
  return root.querySelector(selector);
}

/** Take everything out of a node, and put something else in. */
export function clear(node, ...children) {
  node.replaceChildren(...flat(children));
  return node;
}

/** Text such as "1 photo" or "3 photos". */
export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

let made = 0;

/** A name for an element that no other has. */
export function uid(what = "x") {
  made += 1;
  return `${what}-${made}`;
}

/** A number as a person writes it: no more than two digits behind the point. */
export function short(number) {
  return String(Math.round(Number(number) * 100) / 100);
}

/** Whether what has the focus takes text, so that keys belong to it. */
export function typing(node = document.activeElement) {
  if (!node) return false;
  if (node.isContentEditable || ["TEXTAREA", "SELECT"].includes(node.tagName)) return true;
  return (
    node.tagName === "INPUT" &&
    !["range", "checkbox", "radio", "button", "file", "color"].includes(node.type)
  );
}

// Drawn on a field of 24 by 24, as lines.
const SHAPES = {
  undo: ["M9 6 4.5 10.5 9 15", "M5 10.5h9a5 5 0 0 1 0 10h-3"],
  redo: ["M15 6l4.5 4.5L15 15", "M19 10.5h-9a5 5 0 0 0 0 10h3"],
  close: ["M6 6l12 12", "M18 6 6 18"],
  dice: ["M5 5h14v14H5z", "M9 9h.01", "M15 9h.01", "M12 12h.01", "M9 15h.01", "M15 15h.01"],
  photo: ["M4 5h16v14H4z", "M4 16l5-5 4 4 2.5-2.5L20 17", "M15.5 9h.01"],
  cloud: ["M7 18a4 4 0 0 1 0-8 5.5 5.5 0 0 1 10.6-.6A4.3 4.3 0 0 1 17 18z"],
  brush: ["M20 4c-5 3-8.5 6.5-10 9l2 2c2.5-1.5 6-5 8-11z", "M9 14c-3 .5-2 4-5 5 3 1.5 7 .5 7-3z"],
  download: ["M12 4v11", "M7.5 10.5 12 15l4.5-4.5", "M5 20h14"],
  copy: ["M9 9h10v11H9z", "M15 9V4H5v11h4"],
  folder: ["M3 6h6l2 2h10v11H3z"],
  zoom: ["M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13z",
    "M15.3 15.3 20 20", "M10.5 8v5", "M8 10.5h5"],
  again: ["M19 12a7 7 0 1 1-2.2-5.1", "M19 4v4.5h-4.5"],
  light: ["M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z", "M12 2.5v2", "M12 19.5v2", "M2.5 12h2",
    "M19.5 12h2", "M5.3 5.3l1.4 1.4", "M17.3 17.3l1.4 1.4",
    "M18.7 5.3l-1.4 1.4", "M6.7 17.3l-1.4 1.4"],
  dark: ["M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z"],
  system: ["M4 5h16v11H4z", "M9 20h6", "M12 16v4"],
  stop: ["M7 7h10v10H7z"],
  up: ["M6 15l6-6 6 6"],
  down: ["M6 9l6 6 6-6"],
  left: ["M15 6l-6 6 6 6"],
  right: ["M9 6l6 6-6 6"],
  plus: ["M12 5v14", "M5 12h14"],
};

/** A small line drawing that says nothing to a screen reader: the button's name does. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  for (const line of SHAPES[name] ?? []) {
    const path = document.createElementNS(space, "path");
    path.setAttribute("d", line);
    svg.append(path);
  }
  return svg;
}
