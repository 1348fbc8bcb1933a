"""Everything that touches a file: pictures in and out, the recipe inside them, names, writing."""
