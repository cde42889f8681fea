"""Events and items from files: rows, cells, formats, the bundled data sets, standard input."""
