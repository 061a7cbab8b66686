"""Free SQL over a build: a snapshot of what a role may see, and a process that runs one statement and is gone."""
