"""Who owns a row, and who may get one."""
