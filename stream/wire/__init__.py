"""What crosses the border: bytes and structs. Light: loads neither torch nor the model."""
