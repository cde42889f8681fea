"""What runs on this machine alone: the embedded broker and the demo."""
