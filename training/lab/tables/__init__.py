"""What the commands print: results and tables, for people and for machines."""
