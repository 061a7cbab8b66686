-- Events whose value is too small; those without one stay.
UPDATE checked SET reason = 'clean-value' WHERE reason IS NULL AND value < $least;
