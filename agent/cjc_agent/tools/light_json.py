"""JSON without importing `json`, which would cost a monitor 8 ms of its 15 (it imports `re`); a start and a stop have to wait for it, too."""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _ScannerContext:
    """What the C half of `json` asks of its caller."""

    strict, object_hook, object_pairs_hook = True, None, None
    parse_float, parse_int, parse_constant = float, int, float
    memo: dict[str, str] = {}


def loads(text: str) -> Any:
    """What `json.loads` returns. Raise ValueError, RecursionError.

    Only for what parses: the C half needs the rest of `json` for its errors, and so whatever goes wrong here is left to `json` itself.
    """
    try:
        from _json import make_scanner
        value, end = make_scanner(_ScannerContext())(text, 0)  # type: ignore[arg-type]
        if not text[end:].strip(" \t\n\r"):
            return value
    except Exception:  # StopIteration, SystemError and others, by version
        pass
    import json
    return json.loads(text)


def dumps(value: Any) -> str:
    """What `json.dumps` returns, with the keys sorted."""
    try:
        from _json import encode_basestring_ascii, make_encoder

        # str: for what JSON has no type for, which nothing of ours has
        return "".join(make_encoder(None, str, encode_basestring_ascii, None, ": ", ", ", True, False, False)(value, 0))
    except Exception:  # other arguments in another version
        pass
    import json
    return json.dumps(value, sort_keys=True)
