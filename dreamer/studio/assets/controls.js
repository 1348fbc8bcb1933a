// Small controls, and small questions, that several tabs have.
import { el, uid } from "./dom.js";

/** Whether a job is over, one way or another. */
export const ended = (job) => ["done", "stopped", "failed"].includes(job.status);

/** A number, or the nearer of two limits. */
export const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

/** A number with no more than some digits behind the point. */
export const rounded = (value, digits = 2) => Number(value.toFixed(digits));

/** What a job that waits says of itself. */
export function waiting(job) {
  return job.ahead ? `Waiting: ${job.ahead} ahead` : "It begins in a moment";
}

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
    output.textContent = written(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
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

/** A slider. */
export function range(least, most, step) {
  return el("input", { type: "range", min: String(least), max: String(most), step: String(step) });
}

/** A checkbox with its label: {input, node}. */
export function tick(label) {
  const input = el("input", { type: "checkbox" });
  return { input, node: el("label", { class: "check" }, input, el("span", {}, label)) };
}
