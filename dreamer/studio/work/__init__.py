"""What jobs do: each function checks a body at once, and returns what the worker thread runs."""
