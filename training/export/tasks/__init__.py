"""What the graph of each task returns, how two answers are compared, and what is measured of them."""
