"""The ways of scoring, one file each. `registry.py` names them, `protocol.py` says what each must do."""
