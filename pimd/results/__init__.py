"""What every analysis gives back: numbers with errors, tables, figures; on screen and in files."""
