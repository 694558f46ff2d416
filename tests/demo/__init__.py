"""The stories of `make demo` and its sisters."""
