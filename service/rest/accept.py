"""Read which formats a caller accepts."""

from fastapi import Request


def accepted_types(request: Request) -> set[str]:
    """Return the media types in the header `Accept`, in lower case and without their parameters."""
    ranges = ",".join(request.headers.getlist("accept")).lower().split(",")
    return {media_range.partition(";")[0].strip() for media_range in ranges}


def accepts_open_metrics(request: Request) -> bool:
    """Return whether a scraper asks for OpenMetrics by name, as Prometheus does."""
    return "application/openmetrics-text" in accepted_types(request)
