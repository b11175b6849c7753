"""The kinds of objects that networks detect. One file per kind selects, compares and scores its objects."""
