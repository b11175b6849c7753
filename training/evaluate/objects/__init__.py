"""The kinds of objects that networks detect, one file each: how to keep, compare and score them."""
