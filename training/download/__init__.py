"""Downloads, checks and unpacks the data sets of the benchmarks."""
