"""Brings the benchmarks' data sets, checked and unpacked, to a folder."""
