"""From run folders to the values of a page: tables, sentences, badges, and the files they are written to."""
