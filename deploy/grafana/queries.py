"""Write the expressions that many panels share."""

WINDOW = "$__rate_interval"  # Grafana puts in at least four scrape intervals


def rate(series: str, by: str = "", labels: str = "", window: str = WINDOW) -> str:
    """Return the sum of a counter's rates, for each value of the labels in `by`."""
    return f"sum {_by(by)}(rate({series}{_in_braces(labels)}[{window}]))"


def increase(series: str, by: str = "", labels: str = "") -> str:
    """Return the sum of a counter's growth in the whole time range, for each value of the labels in `by`."""
    return f"sum {_by(by)}(increase({series}{_in_braces(labels)}[$__range]))"


def quantile(share: str, histogram: str, by: str = "", labels: str = "", window: str = WINDOW) -> str:
    """Return a quantile of a histogram, for each value of the labels in `by`."""
    buckets = rate(f"{histogram}_bucket", f"le, {by}" if by else "le", labels, window)
    return f"histogram_quantile({share}, {buckets})"


def maximum(gauge: str, by: str = "", labels: str = "") -> str:
    """Return the largest value of a gauge, for each value of the labels in `by`."""
    return f"max {_by(by)}({gauge}{_in_braces(labels)})"


def minimum(gauge: str, by: str = "", labels: str = "") -> str:
    """Return the smallest value of a gauge, for each value of the labels in `by`."""
    return f"min {_by(by)}({gauge}{_in_braces(labels)})"


def _by(by: str) -> str:
    return f"by ({by}) " if by else ""


def _in_braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""
