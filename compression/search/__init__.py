"""The search over recipes: which device model is the smallest that is fast and good enough."""
