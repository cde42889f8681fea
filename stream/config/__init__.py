"""Every setting, and how settings are read. Light: loads neither torch nor the model."""
