"""Many pictures: what to make, who makes it, and what was made."""
