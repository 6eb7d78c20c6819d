"""Ways to run Fisc: `local` (embedded, supervised) and the files for images and clusters."""
