"""Train mixture-of-experts detectors and export them for serving. Needs torch."""
