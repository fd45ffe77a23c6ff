"""Benchmarks: each compares us with a peer or a limit, side by side in one run.

Absolute times of a shared machine mean little. So ours and the peer's take turns, pair by pair,
and what is shown is the ratio of each pair: its median and its spread.
"""
