// Everything that the page and the server say to each other.

/** What went wrong, and what to do about it, in words for the user. */
export class Problem extends Error {
  constructor(message, advice = "", status = 0) {
    super(message);
    this.name = "Problem";
    this.advice = advice;
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, {
      credentials: "same-origin",
      ...options,
      headers: { "X-Dreamer": "studio", ...options.headers },
    });
  } catch {
    throw new Problem(
      "The studio does not answer.",
      "If it was closed, start `dreamer studio` again; this page waits for it.",
    );
  }
  const text = await response.text();
  let body = null;
  try {
    body = text ? JSON.parse(text) : null;
  } catch {
    // An answer that is no JSON comes from something else than the studio.
  }
  if (!response.ok) {
    const error = body?.error ?? {};
    throw new Problem(
      error.message || `The studio answered with ${response.status}.`,
      error.advice || "",
      response.status,
    );
  }
  return body;
}

/** Ask for something; throws a Problem. */
export function get(path) {
  return ask(path);
}

/** Ask the server to do something; throws a Problem. */
export function post(path, body = {}) {
  return ask(path, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json" },
  });
}

/**
 * Give the server a file as a photo, mask, guide or preset; throws a Problem.
 *
 * Returns the server's whole answer: {file, restored, preset}.
 */
export function upload(file, as = "photo") {
  const asked = new URLSearchParams({ name: file.name || "picture.png", as });
  return ask(`/api/files?${asked}`, {
    method: "POST",
    body: file,
    headers: { "Content-Type": "application/octet-stream" },
  });
}

/**
 * Listen to the server: handlers by event name, and `open` and `lost` for the connection.
 *
 * The browser connects again by itself; where it gives up, this does it. A page that is not looked
 * at holds no connection, as a browser allows a host only six: it is told everything when it is
 * looked at again.
 */
export function events(handlers) {
  let source = null;
  let timer = 0;
  function leave() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }
  function connect() {
    leave();
    const own = new EventSource("/api/events");
    source = own;
    own.addEventListener("open", () => handlers.open?.());
    own.addEventListener("error", () => {
      if (source !== own) return;
      handlers.lost?.();
      if (own.readyState === EventSource.CLOSED) timer = setTimeout(connect, 3000);
    });
    for (const name of ["state", "job", "made", "photo", "gone"]) {
      own.addEventListener(name, (event) => {
        if (source === own) handlers[name]?.(JSON.parse(event.data));
      });
    }
  }
  const look = () => (document.hidden ? leave() : connect());
  document.addEventListener("visibilitychange", look);
  look();
}
