// Small controls, and small questions, that several tabs have.
import { el, icon, uid } from "./dom.js";

/** A number, or the nearer of two limits. */
export const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

/** A number with no more than some digits behind the point. */
export const rounded = (value, digits = 2) => Number(value.toFixed(digits));

/** Write a text where it is another one: a live region says all that is written. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A labelled control whose value is written beside it. */
export function dial(label, input, written) {
  // A label that holds an output names that, and not the control.
  input.id = uid("dial");
  const output = el("output", { class: "value" });
  const show = () => {
    const text = written(Number(input.value));
    write(output, text);
    input.setAttribute("aria-valuetext", text);
  };
  const node = el(
    "div",
    { class: "field" },
    el("label", { for: input.id }, label),
    output,
    input,
  );
  input.addEventListener("input", show);
  return { node, input, show };
}

/** A control with its label. */
export function field(label, input) {
  input.id = uid("field");
  return el("div", { class: "field" }, el("label", { for: input.id }, label), input);
}

/** The two ways to begin: a photo, or clouds. */
export function beginnings(studio, main) {
  return [
    el("button", {
      class: main ? "button main" : "button", type: "button",
      onclick: async () => studio.intake(await studio.choose()),
    }, icon("photo"), "Choose a photo"),
    el("button", {
      class: "button", type: "button", onclick: () => studio.use("sky"),
    }, icon("cloud"), "Start from clouds"),
  ];
}

/** A slider. */
export function range(least, most, step) {
  return el("input", { type: "range", min: String(least), max: String(most), step: String(step) });
}

/** A checkbox with its label: {input, node}. */
export function tick(label) {
  const input = el("input", { type: "checkbox" });
  return { input, node: el("label", { class: "check" }, input, el("span", {}, label)) };
}
