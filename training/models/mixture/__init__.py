"""Mixture-of-experts layers: routers, experts, and ways to run only the experts that a router chose."""
