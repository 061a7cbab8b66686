"""Benches, each a command: `python -m tests.bench.NAME`. They share the processors as the command line does, which has
to be settled before torch is loaded; what they start inherits it, the peers too."""

from dashboard.settings import share_processors

share_processors()
