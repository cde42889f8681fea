"""HTTP of the worker and beside it: the probes, the live page, and `millstream serve`."""
