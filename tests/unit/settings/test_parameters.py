from __future__ import annotations

import pytest

from cjc_agent.settings import parameters
from unit.helpers import DEFAULTS, GIVEN, settings

# design.md, written down literally: name, default, required, unique-group, reloadable
DESIGN = [
    ("site", "", True, True, False),
    ("site_db", "", True, True, False),
    ("device", "", False, False, False),
    ("directory", "", False, True, False),
    ("fstype", "", False, False, False),
    ("options", "", False, False, False),
    ("run_fsck", "auto", False, False, True),
    ("vip", "", False, False, True),
    ("vip_wait", "10s", False, False, True),
    ("port", "", False, False, True),
    ("nqs_home", "/usr/lib/nqs", False, False, False),
    ("nqs_spool", "/usr/spool/nqs", False, False, False),
    ("cjcpw", "cjcpw", False, False, False),
    ("start_args", "start", False, False, True),
    ("stop_args", "stop", False, False, True),
    ("status_args", "status", False, False, True),
    ("cjcpw_mode", "command", False, False, False),
    ("status_running", "0", False, False, True),
    ("status_stopped", "1,3", False, False, True),
    ("user", "root", False, False, False),
    ("environment", "", False, False, True),
    ("stop_escalation", "auto", False, False, True),
    ("licence_pattern", "CJC", False, False, False),
    ("version", "", False, False, True),
    ("min_free_percent", "5", False, False, True),
    ("min_free_mib", "512", False, False, True),
    ("trace", "0", False, False, True),
]
DESIGN_CONF = [("start_timeout", "180s"), ("stop_timeout", "180s"), ("monitor_timeout", "30s"), ("monitor_level", "0"),
               ("monitor_expect", "auto"), ("log_limit", "255")]


def test_the_table_is_the_designs():
    assert [(row.name, row.default, row.required, row.unique, row.reloadable) for row in parameters.PARAMETERS] == DESIGN
    assert [(row.name, row.default) for row in parameters.CONF_PARAMETERS] == DESIGN_CONF
    assert list(parameters.BY_NAME) == [row[0] for row in DESIGN + DESIGN_CONF]
    assert dict(row[:2] for row in DESIGN + DESIGN_CONF) == DEFAULTS


def test_every_row_speaks_both_languages():
    for row in parameters.BY_NAME.values():
        assert row.short and row.long and row.short_ja and row.long_ja, row.name
        assert row.short.isascii() and row.long.isascii() and not row.long_ja.isascii(), row.name


def test_defaults_as_values():
    made = settings()
    assert (made.site, made.site_db) == ("jobsiteA", "/share/job_site")
    assert (made.device, made.directory, made.fstype, made.options) == ("", "", "", "")
    assert (made.run_fsck, made.vip, made.vip_wait, made.port) == ("auto", (), 10.0, 0)
    assert (made.nqs_home, made.nqs_spool, made.cjcpw) == ("/usr/lib/nqs", "/usr/spool/nqs", "cjcpw")
    assert (made.start_args, made.stop_args, made.status_args, made.cjcpw_mode) == (("start",), ("stop",), ("status",), "command")
    assert (made.status_running, made.status_stopped, made.user, made.environment) == ((0,), (1, 3), "root", ())
    assert (made.stop_escalation, made.licence_pattern, made.trace) == (-1.0, "CJC", False)
    assert (made.version, made.min_free_percent, made.min_free_mib) == ("", 5, 512)
    assert (made.start_timeout, made.stop_timeout, made.monitor_timeout, made.monitor_level) == (180.0, 180.0, 30.0, 0)
    assert (made.monitor_expect, made.log_limit) == ("auto", 255)
    assert made.texts == {**DEFAULTS, **GIVEN}


def test_settings_do_not_change():
    with pytest.raises(AttributeError):
        settings().site = "other"


def test_what_is_not_ours_is_ignored():
    assert settings(CRM_meta_timeout="x", nonsense="\n").texts == {**DEFAULTS, **GIVEN}


@pytest.mark.parametrize("name", ["site", "site_db"])
@pytest.mark.parametrize("given", ["", " ", None])
def test_required(name, given):
    texts = {**GIVEN, name: given} if given is not None else {key: text for key, text in GIVEN.items() if key != name}
    made, problems = parameters.read(texts)
    assert problems == {name: "is not given: set it"} and getattr(made, name) == ""


@pytest.mark.parametrize("name", [row[0] for row in DESIGN if row[0] not in ("site", "site_db", "start_args", "stop_args", "status_args")])
def test_empty_is_not_given(name):
    assert getattr(settings(**{name: ""}), name) == getattr(settings(), name)
    assert settings(**{name: ""}).texts == {**DEFAULTS, **GIVEN}


@pytest.mark.parametrize("name", ["start_args", "stop_args", "status_args"])
def test_empty_arguments_are_a_value(name):
    made = settings(**{name: ""})
    assert getattr(made, name) == () and made.texts[name] == ""


@pytest.mark.parametrize("given, start_args", [({}, ()), ({"start_args": "-r"}, ("-r",)), ({"start_args": "start"}, ("start",)), ({"start_args": ""}, ())])
def test_resident_mode_starts_without_arguments_unless_given(given, start_args):
    made = settings(cjcpw_mode="resident", **given)
    assert (made.start_args, made.stop_args) == (start_args, ("stop",))
    assert made.texts["start_args"] == given.get("start_args", "") and made.texts["stop_args"] == "stop"


@pytest.mark.parametrize("given", [
    {}, {"cjcpw_mode": "resident"}, {"cjcpw_mode": "resident", "start_args": "-r"}, {"stop_args": ""}, {"vip": "10.0.0.1, ::1", "port": "0020816"},
    {"device": "LABEL=x", "directory": "/share", "options": "a,b", "environment": "A='x y'", "stop_escalation": "90s", "trace": "yes", "user": "nqs"},
])
def test_the_texts_say_all_that_the_values_say(given):
    """The record keeps the texts: a stop that reads them must act on the very settings of the start, whatever a later version's defaults are."""
    made = settings(**given)
    again, problems = parameters.read(made.texts)
    assert problems == {} and vars(again) == vars(made) and list(made.texts) == list(parameters.BY_NAME)


def test_a_bad_value_is_a_problem_and_the_rest_goes_on():
    made, problems = parameters.read({**GIVEN, "port": "x", "vip": "host", "device": "nonsense", "user": "me"})
    assert list(problems) == ["device", "vip", "port"]
    assert (made.port, made.vip, made.device, made.user) == (0, (), "", "me")
    assert made.texts == {**DEFAULTS, **GIVEN, "user": "me"}, "what is wrong is not recorded"


@pytest.mark.parametrize("text", ["a\nb", "a\x1bb", "a\0b", "\udce9", "a\u202eb", "a\u2028b", "a\x7f"])
def test_control_characters_are_refused_in_one_line(text):
    made, problems = parameters.read({**GIVEN, "licence_pattern": text, "site": text})
    assert list(problems) == ["site", "licence_pattern"]
    for words in problems.values():
        assert words.isprintable() and "control character or broken encoding" in words
    assert (made.site, made.licence_pattern) == ("", "CJC")


def test_hostile_length_gives_bounded_words():
    problems = parameters.read({**GIVEN, "site": "a" * 100000, "vip": "1," * 100000, "port": "9" * 100000})[1]
    assert all(len(words) <= 300 for words in problems.values()) and len(problems) == 3


NETWORK = {"device": "nfs:/e", "directory": "/share"}
BLOCK = {"device": "/dev/sdb1", "directory": "/share"}


@pytest.mark.parametrize("given, problem", [
    (BLOCK, None), (NETWORK, None), ({"device": "/dev/sdb1"}, "directory"), ({"device": "nfs:/e"}, "directory"), ({"directory": "/share"}, None),
    ({"directory": "/other"}, "site_db"), ({**BLOCK, "directory": "/share/job"}, "site_db"), ({**BLOCK, "directory": "/share/job_site"}, None),
    ({"status_running": "0,1"}, "status_stopped"), ({"status_stopped": "0"}, "status_stopped"), ({"status_running": "2", "status_stopped": "0"}, None),
    ({**BLOCK, "fstype": "ext4"}, None), ({**BLOCK, "fstype": "xfs"}, None), ({**BLOCK, "fstype": "nfs4"}, "fstype"), ({**BLOCK, "fstype": "efs"}, "fstype"),
    ({**NETWORK, "fstype": "nfs4"}, None), ({**NETWORK, "fstype": "efs"}, None), ({**NETWORK, "fstype": "ext4"}, "fstype"),
    ({**NETWORK, "fstype": "xfs"}, "fstype"), ({**NETWORK, "fstype": "btrfs"}, "fstype"), ({"fstype": "nfs4"}, None),
    ({"device": "/dev/sdb1", "directory": "relative"}, "directory"),
])
def test_contradictions(given, problem):
    problems = parameters.read({**GIVEN, **given})[1]
    assert list(problems) == ([problem] if problem else [])


@pytest.mark.parametrize("given, name, remedy", [({"site_db": "/" + "x" * 5000, "directory": "/share"}, "site_db", "does not lie below directory /share"),
                                                 ({"nqs_home": "0" * 5000}, "nqs_home", "is not an absolute path: begin it with /")])
def test_a_long_value_does_not_push_out_what_to_do(given, name, remedy):
    words = parameters.read({**GIVEN, **given})[1][name]
    assert words.endswith(remedy) and len(words) <= 300


@pytest.mark.parametrize("name, like", [("sitedb", "site_db"), ("vips", "vip"), ("status_runing", "status_running"), ("xyzzy", "")])
def test_nearest(name, like):
    assert parameters.nearest(name) == like
