"""Whatever a daemon.conf holds: nothing is lost, one value changes alone, and nobody sees a traceback."""
from __future__ import annotations

import os
import string
import tempfile

import hypothesis
import pytest
from hypothesis import configuration, given, strategies

from cjc_agent.frontends import cli
from cjc_agent.settings import daemon_conf
from cjc_agent.settings.daemon_conf import ENCODINGS, File

_home = tempfile.TemporaryDirectory(prefix="cjc-agent-hypothesis-")  # gone when we end
configuration.set_hypothesis_home_dir(_home.name)  # not into the checkout
hypothesis.settings.register_profile("here", derandomize=True, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
OPTIONS = hypothesis.settings(hypothesis.settings.get_profile("here"), max_examples=200)

JAPANESE = "ローカルデーモンは停止／仮想ホスト名に対応するＩＰ夜間表示能ソ十貼"  # also those whose second byte in Shift_JIS is a \ or a |
SPACES = strategies.text(" \t", max_size=3)
keys = strategies.one_of(strategies.sampled_from([*daemon_conf.KEYS, "listen-port", "jcdbs"]),
                         strategies.text(string.ascii_letters + "_.", min_size=1, max_size=8))
words = strategies.text(string.ascii_letters + string.digits + ".,:-_= /" + JAPANESE, max_size=12)
lines = strategies.one_of(
    strategies.tuples(SPACES, keys, SPACES, strategies.just("="), SPACES, words, SPACES, strategies.sampled_from(["", "# " + JAPANESE, "#x=1"])).map("".join),
    strategies.text(string.printable.replace("\n", "") + JAPANESE, max_size=20),
    strategies.sampled_from(["", "#", "# " + JAPANESE, "=", "==", "local_daemon"]))


@strategies.composite
def files(draw):
    """A file's bytes: lines in one encoding, with any ends, a BOM, a last line without an end; or any bytes at all."""
    if draw(strategies.integers(0, 4)) == 0:
        return draw(strategies.binary(max_size=60))
    end = draw(strategies.sampled_from(["\n", "\r\n"]))
    text = end.join(draw(strategies.lists(lines, max_size=8))) + draw(strategies.sampled_from([end, "", end + end]))
    bom = draw(strategies.sampled_from([b"", b"", b"\xef\xbb\xbf"]))
    return bom + text.encode(draw(strategies.sampled_from([*ENCODINGS, "shift_jis"])), "replace")


def told(data):
    """What a file says: each entry with its line."""
    return [(entry.key, entry.value, entry.line) for entry in File("/x", data).entries]


@OPTIONS
@given(files())
def test_what_is_parsed_is_written_back_as_it_was(data):
    """Put together again from its entries and what is between them; and an edit that changes nothing."""
    file = File("/x", data)
    assert file.data == data
    pieces, at = [], 0
    for entry in file.entries:
        assert at <= entry.begin <= entry.end and b"\n" not in data[entry.begin:entry.end] and b"#" not in data[entry.begin:entry.end]
        assert daemon_conf.decoded(data[entry.begin:entry.end]) == entry.value
        pieces += [data[at:entry.begin], data[entry.begin:entry.end]]
        at = entry.end
    assert b"".join([*pieces, data[at:]]) == data
    data.decode(file.encoding)
    for key in {entry.key for entry in file.entries}:
        try:
            again = file.with_value(key, file.get(key).value)
        except ValueError:
            continue  # what is refused is not written
        assert again == data


@OPTIONS
@given(files(), keys, words)
def test_one_value_changes_alone(data, key, value):
    file = File("/x", data)
    try:
        after = file.with_value(key, value)
    except ValueError as error:
        assert str(error).isprintable()
        assert value != value.strip() or not value.isascii(), "what JobCenter takes can be written into any file: %s" % error
        return
    entry, new = file.get(key), File("/x", after).get(key)
    assert (new.key, new.value) == (key, value)
    if entry:
        head, tail = data[:entry.begin], data[entry.end:]
        assert after.startswith(head) and after.endswith(tail), "every other byte"
        assert daemon_conf.decoded(after[len(head):len(after) - len(tail)]) == value
        assert [one for one in told(after) if one != (key, value, new.line)] == [one for one in told(data) if one != (key, entry.value, entry.line)]
    else:
        assert after.startswith(data) and after.endswith(b"\n") and after.count(b"\n") - data.count(b"\n") in (1, 2)
        assert told(after)[:-1] == told(data) and told(after)[-1][:2] == (key, value)
        assert (b"\r\n" in data) == (b"\r\n" in after), "line ends are the file's own"
    assert File("/x", after).with_value(key, value) == after, "once more changes nothing"


@OPTIONS
@given(files(), strategies.text(max_size=10), strategies.text(max_size=10))
def test_any_key_and_value_is_written_so_that_it_is_read_back_or_refused(data, key, value):
    try:
        after = File("/x", data).with_value(key, value)
    except ValueError as error:
        assert str(error)
    else:
        assert File("/x", after).get(key).value == value
        before = [one for one in told(data) if one[0] != key]
        assert [one for one in told(after) if one[0] != key] == before


@OPTIONS
@given(files(), files())
def test_what_counts(first, second):
    """The own file over the common one, the last line over those before: every line is either what counts, or hidden by it."""
    both = {"common": File("/common", first), "site": File("/site", second)}
    found = daemon_conf.effective("site", both)
    for key, one in found.items():
        every = [entry.value for file in both.values() for entry in file.entries if entry.key == key]
        assert [entry.value for _, entry in one.hides] + ([one.value] if one.entry else []) == every
    assert set(found) == {*daemon_conf.KEYS, *(entry.key for file in both.values() for entry in file.entries)}


# -- the command line ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A product's folders; the disk is not mounted here."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("nqs/rc", "spool", "state"):
        (folder / name).mkdir(parents=True)
    (folder / "state").chmod(0o755)
    return folder


@hypothesis.settings(OPTIONS, max_examples=25)
@given(files(), files(), strategies.lists(strategies.one_of(
    strategies.tuples(keys, words).map("=".join), strategies.text(max_size=8), strategies.binary(max_size=8).map(os.fsdecode)), min_size=1, max_size=2),
    strategies.sampled_from(["common", "local", "site", ""]), strategies.booleans())
def test_no_traceback(home, common, local, values, which, force):
    (home / "nqs/rc/daemon.conf").write_bytes(common)
    (home / "spool/daemon.conf").write_bytes(local)
    where = ["--site", "jobsiteA", "--site_db", "/no/such/job_site", "--nqs_home", str(home / "nqs"), "--nqs_spool", str(home / "spool"), "--vip", "10.0.2.50"]
    options = [*where, *(["--in", which] if which else []), *(["--force"] if force else [])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HA_RSCTMP", str(home / "state"))
        patch.setattr(os, "geteuid", lambda: 0)
        patch.setattr(cli.signal, "signal", lambda *_: None)
        patch.setattr("cjc_agent.frontends.verbs.common.settle", lambda: None)
        assert cli.main(["conf", "show", *where]) == 0
        assert cli.main(["conf", "get", *where, "--of", "local", "--", values[0]]) in (0, 1, 2)
        code = cli.main(["conf", "set", *options, "--", *values])
    assert code in (0, 1, 2)
    after = {"common": (home / "nqs/rc/daemon.conf").read_bytes(), "local": (home / "spool/daemon.conf").read_bytes()}
    changed = [name for name, before in (("common", common), ("local", local)) if after[name] != before]
    assert len(changed) <= (code == 0), "one file at most, and only where it went well"
    if code == 0 and which in after:
        file = File("/x", after[which])
        assert all(file.get(key).value == value for key, _, value in (word.partition("=") for word in values))
    assert [path.name for path in home.rglob(".daemon.conf*")] == []
