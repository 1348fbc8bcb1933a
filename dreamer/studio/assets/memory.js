// What the browser keeps, so that a reload loses nothing.

/** What is kept under a key; an empty object where there is nothing of ours. */
export function recall(key) {
  try {
    const kept = JSON.parse(localStorage.getItem(key));
    return kept !== null && typeof kept === "object" ? kept : {};
  } catch {
    return {}; // not allowed, or not ours
  }
}

/** Keep something under a key. */
export function remember(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Without storage the page works, and forgets.
  }
}

/**
 * What the page knows of something kept or told: the server refuses anything else.
 *
 * A value has to be of the kind that the usual one is of; null stands for any.
 */
export function known(kept, usual) {
  const kind = (value) => (Array.isArray(value) ? "list" : typeof value);
  return Object.fromEntries(
    Object.entries(kept ?? {}).filter(
      ([key, value]) =>
        Object.hasOwn(usual, key) && (usual[key] === null || kind(value) === kind(usual[key])),
    ),
  );
}
