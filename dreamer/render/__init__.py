"""A recipe in, pictures out: stills, contact sheets, and the checks before any work starts."""
