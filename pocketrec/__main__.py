"""`python -m pocketrec` is the command line."""

from pocketrec.cli import main

main()
