"""Gradient ascent on pictures: tensors in, tensors out.

Nothing here reads or writes a file, prints, or keeps global state. A picture is a float32 tensor
`(1, 3, H, W)` of sRGB values in 0..1.
"""
