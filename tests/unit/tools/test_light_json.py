from __future__ import annotations

import json

import pytest

from cjc_agent.tools import light_json

SAMPLES = ["{}", "[]", "0", "-1", "1.5", "true", "null", '""', '"a\\u00e9\\n\\"\\\\"', '{"a": [1, {"b": null}], "c": "日本"}',
           '[{"a": [1.25, 1e-7]}]\n \t\n']
BROKEN = ["", "{", '{"a"}', "[1,]", "nul", '"\n"', "{} {}", "1 2", "'a'", "\ufeff{}", "{}\x0b", "1\u00a0"]


@pytest.fixture(params=["C scanner", "fallback"])
def scanner(request, monkeypatch):
    if request.param == "fallback":
        monkeypatch.delattr("_json.make_scanner")


@pytest.mark.parametrize("text", SAMPLES)
def test_loads_is_that_of_json(text, scanner):
    assert light_json.loads(text) == json.loads(text)


@pytest.mark.parametrize("text", BROKEN)
def test_loads_refuses_what_that_of_json_refuses(text, scanner):
    with pytest.raises(ValueError):
        json.loads(text)
    with pytest.raises(ValueError):
        light_json.loads(text)


@pytest.mark.parametrize("text", ["\n{}", " 5", "\t[]\r\n"])
def test_loads_with_leading_white_space(text):
    assert light_json.loads(text) == json.loads(text)


@pytest.mark.parametrize("value", [None, 0, 20816, "", "a\"\\\n\x00 日本 \udcff", [], [(100, 5), (200, 7)], (300, 9), 1.25, True, {}, {"b": "x", "a": "y"}])
@pytest.mark.parametrize("there", [True, False])
def test_dumps_is_that_of_json(value, there, monkeypatch):
    if not there:
        monkeypatch.delattr("_json.make_encoder")
    assert light_json.dumps(value) == json.dumps(value, sort_keys=True)
