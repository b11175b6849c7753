"""The mixture of experts: routing, experts, and the ways to run only some of them."""
