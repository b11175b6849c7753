"""Mixture-of-experts layers: routers, experts, and ways to compute only the chosen experts."""
