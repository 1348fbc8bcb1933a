"""Image networks: rows of data about them, and loading, freezing and cutting them."""
