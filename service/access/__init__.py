"""Decide who may use which path, and how often: keys, tokens, rates and quotas."""
