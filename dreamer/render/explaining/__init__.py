"""What `dreamer explain` is made of: the numbers, the heat maps, the pictures, the page."""
