"""The page at `/` of the worker's port: what happens now, for people. docs/page.md tells what each part means."""

from stream.http.page.page import Page

__all__ = ["Page"]
