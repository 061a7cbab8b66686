"""Reading a caller's files and databases: every row as text, with its line, nothing lost."""
