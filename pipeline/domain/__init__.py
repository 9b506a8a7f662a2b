"""The rules of the trade as pure code: standard library only, no clock, no randomness, no I/O."""
