"""A deterministic simulation of devices, networks and crashes around the shipped sync server.

`python -m tests.simulation SEED` replays one run and prints what happened. A run is a function of its seed alone: one
`random.Random` decides everything, time is set, and nothing looks at what the server draws for itself (device ids, the
store's generation): devices go by number, and what those names are changes no decision.

`make test` plays 250 seeds, `SIMULATION_SEEDS=1000 .venv/bin/pytest tests/simulation` a thousand. A seed that fails is
printed with the command that replays it.

| file | |
| --- | --- |
| `disk.py` | the database's files, and what a crash leaves of them |
| `devices.py` | phones and tills: what they create, keep, drop, send and believe |
| `course.py` | one run: who does what when, what the network does to it, when the server dies |
| `rights.py` | what people ask of the staff meanwhile: erasure, unmerge |
| `server.py` | the shipped code, as workers over one store |
| `oracle.py` | what the server must answer, by rules and plain dictionaries |
| `decisions.py`, `persons.py` | of which: who allowed what when, and who is one person |
| `ledger.py` | what the store must hold in the end |
| `kept.py` | work that is the same in every run, done once |
| `mutants.py` | faults put into the shipped code from outside, which must turn the simulation red |
"""
