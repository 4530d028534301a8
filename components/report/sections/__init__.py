"""The sections of the report, a file each: a function from `Sources` to blocks of the page."""
