"""Training under user-level differential privacy: statistics released once, a small teacher refined by DP-SGD.

What leaves here (a teacher, histories drawn from it) depends on each person's data only through noised sums that were
charged before.
"""
