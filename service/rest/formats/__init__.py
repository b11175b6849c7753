"""How an answer is written: one file each."""
