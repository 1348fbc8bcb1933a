"""An atlas of a network: a picture of every channel, on one page."""
