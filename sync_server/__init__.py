"""The sync server: what phones and tills send becomes one true profile per person, exactly once."""
