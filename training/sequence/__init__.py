"""Next-item recommendation, where people seldom take the same item twice: films, books, clothes.

Sequences of items, a causal transformer that learns from every position at once, and leave-one-out evaluation.
"""
