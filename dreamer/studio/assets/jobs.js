// What a job is to the page, and what is said of it.

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

// Where each kind of job is asked for.
const PATHS = {
  dream: "/api/dream", preview: "/api/zoom", film: "/api/zoom", batch: "/api/batch",
  unit: "/api/unit",
};

/** Whether a job can be asked for again, to go on or from the start. */
export function again(job) {
  // Of these what there was is kept, and shown as such.
  const kept = ["dream", "unit"].includes(job.kind) && job.made?.length;
  return ["stopped", "failed"].includes(job.status) && job.kind in PATHS && !kept;
}

/** Ask for a job again, in place of the one before; the new one, or null. */
export async function goOn(studio, job) {
  const next = await studio.ask(PATHS[job.kind], job.asked);
  if (next && !going(job)) studio.ask(`/api/jobs/${encodeURIComponent(job.id)}/drop`);
  return next;
}

/** What a job that waits says of itself. */
export function waiting(job) {
  return job.ahead ? `Waiting: ${job.ahead} ahead of you` : "Waiting: next in line";
}

/** Why a job failed, and what to do about it. */
export function failure(job) {
  return [job.error?.message, job.error?.advice].filter(Boolean).join(" ") || "It failed.";
}

/** What a job does, or what became of it. */
export function doing(job) {
  switch (job.status) {
    case "waiting":
      return waiting(job);
    case "running":
      return job.doing || "It begins";
    case "stopping":
      return "Stopping";
    case "stopped":
      return job.notes?.length ? `Stopped: ${job.notes.at(-1)}` : "Stopped";
    case "failed":
      return failure(job);
    default:
      return job.seconds ? `Done in ${tookTime(job.seconds)}` : "Done";
  }
}
