"""What the operator writes: parameters, the configuration file, the command line."""
from __future__ import annotations

import contextlib
import ipaddress
import os
import re

from cjc_agent.frontends import cli
from cjc_agent.settings import conf_file, parameters
from fuzz import specimens
from fuzz.engine import fuzz, is_one_line

NAMES = list(parameters.BY_NAME)
BASES = [{}, {"site": "jobsiteA", "site_db": "/share/job_site"}, {name: good[0] for name, good in specimens.PARAMETERS.items()}]


def given_parameters(recipe):
    """What a cluster may hand over: mostly right, some of it not."""
    given = dict(recipe.pick(BASES))
    for _ in range(1 + recipe.number(3)):
        name = recipe.pick(NAMES)
        good = specimens.PARAMETERS[name]
        given[name] = recipe.text(good) if recipe.number(3) else recipe.pick(good)
    if recipe.number(8) == 7:
        given[recipe.text(NAMES)] = recipe.text(["x"])
    return given


def is_path(text):
    return bool(text == "" or re.fullmatch(r"(/[^/]+)+", text)) and not {".", ".."} & set(text.split("/"))


def is_seconds(value, least=0.0):
    return isinstance(value, float) and least <= value <= 86400


def is_device(text):
    if text.startswith("/dev/"):
        return is_path(text)
    return text == "" or bool(re.match(r"(LABEL|UUID|PARTLABEL|PARTUUID)=.|[^-/ \t,=][^ \t,=]*:/", text))


def is_vip(vips):
    return len(vips) <= 5 and len({ipaddress.ip_address(vip) for vip in vips}) == len(vips)


# design.md, for the values that were accepted
CONTRACT = {
    "site": lambda value: value == "" or bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", value)),
    "site_db": is_path, "directory": is_path, "nqs_home": is_path, "nqs_spool": is_path,
    "device": is_device,
    "fstype": lambda value: re.fullmatch(r"([A-Za-z0-9._][A-Za-z0-9._-]*)?", value),
    "options": lambda value: not re.search(r"\s", value),
    "run_fsck": lambda value: value in ("auto", "force", "no"),
    "vip": is_vip,
    "vip_wait": is_seconds,
    "port": lambda value: 0 <= value <= 65535,
    "cjcpw": lambda value: is_path(value) if value.startswith("/") else bool(re.fullmatch(r"[^-/\s][^/\s]*", value)) and value not in (".", ".."),
    "cjcpw_mode": lambda value: value in ("command", "resident"),
    "status_running": lambda value: value and all(0 <= code <= 255 and code not in (126, 127) for code in value),
    "status_stopped": lambda value: value and all(0 <= code <= 255 and code not in (126, 127) for code in value),
    "user": lambda value: re.fullmatch(r"[A-Za-z0-9._$][A-Za-z0-9._$-]{0,63}", value),
    "environment": lambda value: all(re.match(r"(?!NQS_SITE=|CJC_AGENT_CALL=)[A-Za-z_][A-Za-z0-9_]*=", word) for word in value),
    "stop_escalation": lambda value: value == -1 or is_seconds(value),
    "min_free_percent": lambda value: 0 <= value <= 100, "min_free_mib": lambda value: value >= 0,
    "trace": lambda value: isinstance(value, bool),
    "start_timeout": lambda value: is_seconds(value, 1), "stop_timeout": lambda value: is_seconds(value, 1),
    "monitor_timeout": lambda value: is_seconds(value, 1),
    "monitor_level": lambda value: value in (0, 10, 20),
    "monitor_expect": lambda value: value in ("auto", "active"), "log_limit": lambda value: 128 <= value <= 65536,
}


def check_parameters(given):
    settings, problems = parameters.read(given)
    for name, words in problems.items():
        assert name in parameters.BY_NAME and words and is_one_line(words, 300), (name, words)
        assert "int_max_str_digits" not in words, "Python's words, not ours"
    found = {name: value for name, value in vars(settings).items() if name != "texts"}
    for name, value in found.items():
        assert CONTRACT.get(name, lambda _: True)(value), (name, value)
        for word in value if isinstance(value, tuple) else [value]:
            assert not isinstance(word, str) or (word.isprintable() and os.fsencode(word) is not None)
    assert ("site" not in problems) == bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", given.get("site", "")))
    again, problems_again = parameters.read(settings.texts)  # as a stop does with what the record has
    assert {name: value for name, value in vars(again).items() if name != "texts"} == found
    assert set(problems_again) <= set(problems)


def test_parameters():
    fuzz("parameters", given_parameters, check_parameters)


def check_conf(data):
    conf = conf_file.parse(data, "/etc/x.conf")
    for error in conf.errors:
        where = re.match(r"/etc/x\.conf line (\d+): .", error)
        assert where and 1 <= int(where[1]) <= data.count(b"\n") + 1
        assert is_one_line(error, 400), error
    assert conf.values.keys() == conf.lines.keys()
    for name, value in conf.values.items():
        assert name in parameters.BY_NAME and "\n" not in value and value == value.strip()
        assert name.encode() in data and value.encode() in data
    check_parameters(conf.values)


def written_by_hand(recipe):
    """Names and values, and lines that say so."""
    values, lines = {}, []
    for name in {recipe.pick(NAMES) for _ in range(1 + recipe.number(5))}:
        values[name] = "".join(c for c in recipe.text(specimens.PARAMETERS[name]) if c.isprintable()).strip()
        lines += ["# \u65e5=x"] * recipe.number(2) + [recipe.pick(SPACES) + name + recipe.pick(SPACES) + "=" + recipe.pick(SPACES) + values[name]]
    return values, recipe.pick(["\n", "\r\n", " \n\n"]).join([*lines, ""])


SPACES = ["", " ", "\t", "  "]


def check_written(drawn):
    values, text = drawn
    conf = conf_file.parse(text.encode(), "x")
    expected = {name: value for name, value in values.items()
                if (value or parameters.BY_NAME[name].empty_counts) and not (value.startswith("/") and " #" in value)}  # a comment, not a path
    assert conf.values == expected and len(conf.errors) == len(values) - len(expected)


def test_configuration_file():
    fuzz("configuration file", lambda recipe: recipe.mutated(specimens.CONF), check_conf)
    fuzz("... written by hand", written_by_hand, check_written)


def test_command_line():
    parser = cli._parser()

    def check(line):
        with open(os.devnull, "w", errors="backslashreplace") as silent, contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            try:
                options = parser.parse_args(line.split(" "))
            except SystemExit as stopped:
                assert stopped.code in (0, 2)
                return
        assert options.verb in {**cli.VERBS, **cli.AROUND}
        if hasattr(options, "parameter_site"):
            check_parameters(cli.parameters_of(options))

    fuzz("command line", lambda recipe: recipe.text(specimens.WORDS), check)
