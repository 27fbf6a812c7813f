"""Whole jobs as users run them, by this version and by another one: ``python -m benchmarks.jobs``.

Each job is a command of its own, from its start to its end, on the same real images. The versions and jobs take turns
within each round, so that noise affects all alike. Processes whose ratio is far from that of their CPU time did not
have the machine to themselves.
"""
