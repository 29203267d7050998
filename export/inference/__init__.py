"""A bundle in use: what a history is answered with. Phones and the server share this code, and so their answers."""
