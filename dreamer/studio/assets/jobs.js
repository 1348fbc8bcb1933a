// What a job is to the page.

const GOING = new Set(["waiting", "running", "stopping"]);

/** Whether a job still goes on, or is to. */
export function going(job) {
  return GOING.has(job.status);
}

/** A time as a person says it. */
export function tookTime(seconds) {
  if (seconds < 9.95) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
