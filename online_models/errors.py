"""The ways a caller can be wrong: a setting out of range, a wrong shape, more ids than fit, a foreign state."""

__all__ = ["CapacityError", "ConfigError", "ShapeError", "StateError"]


class ConfigError(ValueError):
    """A setting is out of its range; the message names the field, what was expected and what came."""


class ShapeError(ValueError):
    """An array has another shape or dtype than the contract says; the message names the array."""


class CapacityError(ValueError):
    """One batch names more different ids than an index may hold at all."""


class StateError(ValueError):
    """A state does not fit its owner: made with other settings, or no state at all; the message names the part."""
