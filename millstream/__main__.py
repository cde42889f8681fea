"""`python -m millstream`."""

from millstream.main import main

main()
