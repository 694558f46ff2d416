"""The listed breakages: each takes one safety rule out of the core and names the tests that guard it.

Not every line that can be broken, but every promise that must not be: when one of these survives, a test is missing.
"""
from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutant:
    """`name` says what is broken; in `file` the text `old`, which is there exactly once, becomes `new`; every one of `tests` must fail then.

    `dead`: a healthy site cannot even start and stop any more. All others leave it alive, so that the rule's test notices and not just any.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    dead: bool = False


def unit(module: str, *names: str) -> tuple[str, ...]:
    """The node ids of unit tests."""
    folder, _, file = module.rpartition("/")
    return tuple("tests/unit/%s%stest_%s.py::test_%s" % (folder, "/" if folder else "", file, name) for name in names)


def agent(module: str, *names: str) -> tuple[str, ...]:
    """The node ids of agent tests: real mounts, addresses and processes."""
    return tuple("tests/agent/test_%s.py::test_%s" % (module, name) for name in names)


ACTIONS, OCF = "agent/cjc_agent/actions.py", "agent/cjc_agent/frontends/ocf.py"
DISK, VIP, SITE, OWNERSHIP = ("agent/cjc_agent/layers/%s.py" % layer for layer in ("disk", "vip", "site", "ownership"))
COMMAND, BLOCK, PROCESSES, MOUNTS = ("agent/cjc_agent/tools/%s.py" % tool for tool in ("command", "blockdevice", "processes", "mountinfo"))
STATEFILE, RECORD, LOCK, LOG = ("agent/cjc_agent/tools/%s.py" % tool for tool in ("statefile", "record", "lock", "log"))
WRAPPER = "ocf/jobcenter"

MUTANTS = (
    # -- disk: mounted once, and unmounted before stop says so
    Mutant("a device that another mount namespace uses is mounted all the same", DISK,
           "result = self._wait_unused(path, number, deadline.share(0.5))", 'result = Result("open", "exited", 0)',
           unit("layers/disk", "start_that_fails") + agent("lifecycle", "a_device_in_use_in_another_mount_namespace_is_not_mounted")),
    Mutant("after the umount nobody looks whether the device is free", DISK,
           "self._wait_unused(path, number, deadline.share(0.9))", "pass",
           unit("layers/disk", "stop_is_done_only_when_the_device_is_free") + agent("lifecycle", "stop_sees_a_device_that_another_mount_namespace_keeps")),
    Mutant("another device on the mount point is taken for ours", DISK,
           "if not self._same(top, number):", "if False:",
           unit("layers/disk", "block") + agent("lifecycle", "another_device_on_the_mount_point_is_named")),
    Mutant("our device mounted elsewhere on the node is not looked for", DISK,
           "if self._same(mount, number):", "if False:",
           unit("layers/disk", "start_never_mounts_over_or_twice") + agent("lifecycle", "our_device_mounted_elsewhere_is_named")),
    Mutant("a stranger's mount on our mount point is unmounted", DISK,
           '"number" in self.resolved and self._same(mount, self.resolved["number"])', "mount.point == self._settings.directory",
           unit("layers/disk", "stop_leaves_a_stranger_on_our_mount_point_alone") + agent("holders", "a_stranger_on_our_mount_point_is_left_there")),
    Mutant("umount hides the mount instead of ending it (-l)", DISK,
           '["umount", "-c", "--", point]', '["umount", "-l", "-c", "--", point]',
           unit("layers/disk", "stop_unmounts_what_lies_below_first_and_stacks") + agent("holders", "a_caller_who_stands_in_the_mount_is_not_killed")),
    Mutant("what the cluster mounted is unmounted by stop", DISK,
           '"""Nothing: what the cluster mounted the cluster unmounts."""',
           'self._runner.tool(["umount", "--", self._settings.directory or self._settings.site_db.rpartition("/")[0]], deadline)',
           unit("layers/disk", "cluster_disk_is_never_mounted_or_unmounted")
           + agent("lifecycle", "disk_mounted_by_the_cluster_is_verified_and_left_alone")),
    Mutant("the root file system counts as the shared disk", DISK,
           'return mount if mount is not None and mount.point != "/" else None', "return mount",
           unit("layers/disk", "cluster")),
    Mutant("a frozen file system is left frozen while daemons are to end", DISK,
           "blockdevice.thaw(self._settings.directory, self._runner, deadline.part(2.0))", "pass",
           unit("layers/disk", "before_a_stop_our_own_block_device_is_thawed") + agent("holders", "stop_thaws_before_it_asks_the_daemons_to_end")),
    Mutant("who holds the mount and ignores TERM is never killed", DISK,
           "patience.expired(), told, deadline)", "False, told, deadline)",
           unit("layers/disk", "a_holder_of_the_mount_that_ignores_term_is_killed")),
    Mutant("a recorded device number counts though the path has another one now", DISK,
           " and not self._renumbered():", ":",
           unit("layers/disk", "a_device_that_got_another_number_since_it_was_recorded_is_resolved_again")),
    Mutant("umount takes what hides our mount, by its name", DISK,
           "first = next((mount for mount in mounts if _is_seen(table, mount)), None)", "first = mounts[0]",
           unit("layers/disk", "stop_never_unmounts_a_stranger_of_the_same_name")),
    Mutant("a FUSE mount of any user passes for our disk", DISK,
           ' and not mount.fstype.startswith("fuse"):', ":",
           unit("layers/disk", "block") + agent("security", "a_fuse_mount_cannot_pass_for_our_disk")),
    Mutant("a label that two devices answer to means the first", BLOCK,
           "if len(found) > 1:", "if False:",
           unit("tools/blockdevice", "what_is_not_resolved") + agent("lifecycle", "label_answered_by_two_devices_is_refused")),
    Mutant("a file system in which fsck left errors is mounted", BLOCK,
           "if result.exit_code in (0, 1):", "if result.exit_code in (0, 1, 4):",
           unit("tools/blockdevice", "fsck_exit_codes") + agent("lifecycle", "a_damaged_file_system_is_repaired_or_refused_by_fsck")),
    Mutant("in use on another node: the advice is to clear ext4's mark (mmp)", BLOCK,
           'make sure that %s is off before anything else" % (path, node, node)', 'clear the mark with tune2fs -f -E clear_mmp %s" % (path, node, path)',
           unit("tools/blockdevice", "what_mmp_refuses") + unit("layers/disk", "start_that_fails")),
    Mutant("a mount that fell back to read-only counts as good", MOUNTS,
           "plain(source), read_only, options)", "plain(source), False, options)",
           unit("tools/mountinfo", "read_only_by_mount_or_superblock") + agent("lifecycle", "a_disk_that_became_read_only_is_seen")),
    Mutant("a mount that a later one hides is still believed", MOUNTS,
           "mount = containing(mounts, point)", "mount = next((mount for mount in mounts if mount.point == point), None)",
           unit("tools/mountinfo", "a_mount_under_a_later_one_is_not_seen")),

    # -- address
    Mutant("an address that is tentative, duplicate or on a dead link counts", VIP,
           "elif worth != addresses.USABLE:", "elif False:",
           unit("layers/vip", "states") + agent("lifecycle", "a_vip_on_a_link_that_is_down_does_not_count")),
    Mutant("one address of several is enough", VIP,
           "if not missing and not complaints:", "if len(missing) + len(complaints) < len(self._vips):",
           unit("layers/vip", "states", "the_real_loopback")),

    # -- site: what status says is never believed alone
    Mutant("\"stopped\" is believed without looking", SITE,
           "state = self._by_evidence()", 'state = State(STOPPED, "")',
           unit("layers/site", "a_stopped_code_is_never_believed_alone") + agent("lifecycle", "a_status_that_says_stopped_is_not_believed_while_daemons_live")),
    Mutant("a status that hangs or dies of a signal means stopped", SITE,
           "if answer.exit_code in self._settings.status_stopped:\n            state",
           "if answer.exit_code in (None, *self._settings.status_stopped):\n            state",
           unit("layers/site", "everything_else_is_failed")),
    Mutant("a recurring monitor that cannot run cjcpw goes by evidence", SITE,
           "if probing and answer.exit_code in", "if answer.exit_code in",
           unit("layers/site", "everything_else_is_failed")),
    Mutant("cjcpw is asked while the disk is not there", SITE,
           "if not disk_up or not self._settings.site:", "if not self._settings.site:",
           unit("layers/site", "without_the_disk_cjcpw_is_not_called")),
    Mutant("a start does not look what already runs", SITE,
           'if before.evidence():\n            raise', "if False:\n            raise",
           unit("layers/site", "what_starts_nothing_notes_nothing") + agent("whose_process", "a_foreign_listener_on_the_vip_is_named_before_the_start")),
    Mutant("the resident cjcpw may be dead", SITE,
           "process is None or process.identity != self.resident or process.dead", "False",
           unit("layers/site", "running_also_needs_the_resident_cjcpw") + agent("resident", "a_dead_resident_is_failed_though_status_says_running")),
    Mutant("a listener stopped by a signal serves", SITE,
           'if process.state in ("T", "t")', "if False",
           agent("lifecycle", "a_stopped_listener_is_seen_at_level_10")),
    Mutant("cjcpw stop may use up all of a stop's time", SITE,
           "GRACEFUL_MOST = 0.80", "GRACEFUL_MOST = 1.0",
           unit("layers/site", "a_stop_by_cjcpw_leaves_time_for_all_that_comes_after_it")),
    Mutant("daemons get TERM as soon as cjcpw stop has ended", SITE,
           "            if not set(census.daemons) - set(census.mere_holders) and not any(map(processes.alive, waited_for)):\n", "            if True:\n",
           unit("layers/site", "daemons_that_take_their_time_to_end_after_cjcpw_stop_get_it")),
    Mutant("jobs get the signal together with their daemons, who note them as failed", SITE,
           "aimed = left if not daemons or (word == \"KILL\" and daemons_first.expired()) else daemons", "aimed = left",
           unit("layers/site", "jobs_are_told_to_end_after_their_daemons") + agent("lifecycle", "a_job_that_runs_when_cjcpw_stop_fails_runs_again")),
    Mutant("a start that is killed while cjcpw works leaves no record", SITE,
           "        note()\n", "        pass\n",
           unit("layers/site", "start_notes_itself_before_cjcpw_is_called") + agent("races", "a_start_that_was_killed_does_not_come_true_after_the_stop")),
    Mutant("after a signal the look is not taken again", SITE,
           "processes.wait_gone(aimed, deadline.part(0.2))\n            census = self.census()", "processes.wait_gone(aimed, deadline.part(0.2))",
           unit("layers/site", "every_avenue_is_judged_by_a_look_that_was_taken_after_the_one_before")),

    # -- whose process it is
    Mutant("the variable alone condemns", OWNERSHIP,
           "if PRODUCT in flags or", "if True or",
           unit("layers/ownership", "the_variable_alone_condemns_nobody") + agent("whose_process", "a_service_launched_by_a_job_lives_and_is_named")),
    Mutant("an operator's process on a terminal is a daemon", OWNERSHIP,
           "elif OURS in flags and process.tty == 0:", "elif OURS in flags:",
           unit("layers/ownership", "who_has_a_terminal_is_no_candidate")),
    Mutant("another site's daemons are ours", OWNERSHIP,
           "OURS if site and carried[-1] == wanted else OTHERS", "OURS if site else OTHERS",
           unit("layers/ownership", "another_variable_is_not_ours") + agent("whose_process", "a_daemon_of_another_site_lives")),
    Mutant("a recorded pid counts whoever has it now", OWNERSHIP,
           "if pid in table and table[pid].start == start", "if pid in table",
           agent("whose_process", "pid_used_again_is_not_taken_for_a_recorded_daemon")),
    Mutant("who holds the site DB's mount does not count", OWNERSHIP,
           "if look.scope:", "if False:",
           unit("layers/ownership", "who_holds_the_mount") + agent("holders", "who_holds_a_disk_of_the_cluster_s_that_turned_read_only_is_ended")),
    Mutant("who listens on VIP and port does not count", OWNERSHIP,
           "if address in vips and not holding:", "if False:",
           unit("layers/ownership", "somebody_elses_listener_on_vip_and_port_is_evidence_too")),
    Mutant("no time to look at all processes means that there are none", OWNERSHIP,
           'facts = {}\n        census.complete = False\n        census.obstacles.append(str(error.strerror))',
           "facts = {}",
           unit("layers/ownership", "without_time_to_look_at_all_it_is_not_said_that_nothing_is_there")),
    Mutant("a process that we lacked the means to look at counts as gone", PROCESSES,
           "if error.errno in procfs.LACKING:", "if False:",
           unit("tools/processes", "what_we_could_not_open_is_not_taken_for_gone")),
    Mutant("a look that ended for want of memory is an answer", COMMAND,
           "if begun and not _lacked(result):", "if begun:",
           unit("tools/command", "each_whose_child_lacks_something_is_no_answer", "each_whose_child_is_killed_for_want_of_memory_is_no_answer")),
    Mutant("in another mount namespace the same path is the same disk", "agent/cjc_agent/tools/holders.py",
           'return words if words and known[namespace] else ""', "return words",
           unit("tools/holders", "a_holder_in_another_mount_namespace_counts_only_when_it_has_the_file_system_mounted")
           + agent("holders", "a_container_with_a_mount_of_its_own_at_our_path_is_no_holder")),
    Mutant("a signal is sent to whoever has the pid by now", PROCESSES,
           "if not alive(process):", "if False:",
           unit("tools/processes", "send_never_to_a_namesake")),
    Mutant("a signal is sent to ourselves or who called us", PROCESSES,
           "if process.pid <= 1 or is_ancestor(process.pid):", "if process.pid <= 1:",
           unit("tools/processes", "send_never_to_init_us_or_those_above_us") + agent("holders", "a_caller_who_stands_in_the_mount_is_not_killed")),

    # -- actions
    Mutant("failed and stopped change their exit codes (7 and 1)", OCF,
           "= 0, 1, 2, 3, 4, 5, 6, 7, 190", "= 0, 7, 2, 3, 4, 5, 6, 1, 190",
           unit("frontends/ocf", "exit_codes") + agent("lifecycle", "a_site_starts_answers_and_stops"), dead=True),
    Mutant("a clone of the site is started on several nodes", OCF,
           "if CLONE in environ and action in REFUSED_TO_A_CLONE:", "if False:",
           unit("frontends/ocf", "a_clone_is_refused")),
    Mutant("who is not root is answered by what little can be seen", OCF,
           'if not _is_root() and action != "validate-all":', "if False:",
           unit("frontends/ocf", "who_is_not_root_is_not_answered_by_what_little_can_be_seen")
           + agent("security", "who_is_not_root_changes_nothing_and_is_told_nothing_wrong")),
    Mutant("an unexpected exception means stopped", OCF,
           "actions.Verdict(actions.FAILED, logging.unexpected(", "actions.Verdict(actions.STOPPED, logging.unexpected(",
           unit("frontends/ocf", "an_unexpected_exception_is_one_line_a_file_and_1")),
    Mutant("an action may use the cluster's whole timeout", OCF,
           "Deadline(budget(seconds))", "Deadline(seconds)",
           unit("frontends/ocf", "the_time_budget")),
    Mutant("a site that was started here and is gone is stopped", ACTIONS,
           "if stack.record is not None and not disk.running:", "if stack.record is not None:\n        return Verdict(STOPPED)\n    if False:",
           unit("actions", "monitor_truth_table") + agent("lifecycle", "daemons_dead_on_the_cluster_s_disk_are_failed_not_stopped")),
    Mutant("a disk left mounted without its site is stopped", ACTIONS,
           "if disk.running and stack.disk.exclusive:", "if False:",
           unit("actions", "monitor_truth_table") + agent("lifecycle", "a_disk_left_mounted_is_failed_not_stopped")),
    Mutant("start is good without a last look at disk and address", ACTIONS,
           "verdict = _running(stack, 0) if disk.running else", "verdict = Verdict(GOOD) if True else",
           unit("actions", "start_is_good_only_when_monitor_would_say_so")),
    Mutant("a failed start leaves what it brought up", ACTIONS,
           "reason + _take_down(stack)", "reason",
           unit("actions", "a_failed_start_takes_down_what_it_brought_up") + agent("lifecycle", "a_failed_start_takes_down_what_it_brought_up")),
    Mutant("stop keeps the disk when the site's end went wrong", ACTIONS,
           "stack.disk.stop(Deadline(", "words or stack.disk.stop(Deadline(",
           unit("actions", "stop_goes_on_after_a_failure_and_names_everything")),
    Mutant("stop signals after the umount", ACTIONS,
           "evidence = _evidence(stack)", "stack.site.stop(False, stack.deadline)\n    evidence = _evidence(stack)",
           unit("actions", "stop_descends")),
    Mutant("stop does not look for processes in the end", ACTIONS,
           "    if evidence:\n", "    if False:\n",
           unit("actions", "stop_says_good_only_after_seeing_it")),
    Mutant("stop acts on the parameters of today, not on those of the start", ACTIONS,
           "parameters.read(found.settings)[0] if found else request.settings, found", "request.settings, found",
           unit("actions", "stop_acts_on_the_records_settings") + agent("races", "stop_goes_by_the_record_of_the_start_that_it_waited_for")),
    Mutant("a bad parameter stands in the way of stop", ACTIONS,
           "site = site_of(request)\n    lock", "site = site_of(request)\n    if request.problems:\n        return Verdict(MISCONFIGURED)\n    lock",
           unit("actions", "a_stop_without_a_usable_site_goes_by_the_record")),
    Mutant("start, stop and reload do not exclude each other", ACTIONS,
           "lock.take(what, request.deadline)", "pass",
           unit("actions", "start_waits_for_the_lock_within_its_time") + agent("bad_input", "two_starts_at_once")),
    Mutant("a monitor adopts a site while a stop is at work", ACTIONS,
           "if not self.locked and lock.is_held():", "if False:",
           unit("actions", "nothing_is_adopted_while_a_start_or_stop_is_at_work")),
    Mutant("a full disk is a failure that moves the site", ACTIONS,
           "return Verdict(DEGRADED,", "return Verdict(FAILED,",
           unit("actions", "write_test_at_level_20") + agent("lifecycle", "a_full_disk_is_degraded_at_level_20")),

    Mutant("the write test follows what somebody lays in its way", ACTIONS,
           "os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW", "os.O_RDWR | os.O_CREAT",
           unit("actions", "write_test_never_writes_into_what_somebody_lays_in_its_way")),

    # -- state folder
    Mutant("a record of another boot is believed", RECORD,
           "return record if record.boot == processes.boot_id() else None", "return record",
           unit("tools/record", "a_record_of_another_boot_counts_for_nothing")),
    Mutant("a state file that others may write is believed", STATEFILE,
           "if facts.st_mode & 0o022:", "if False:",
           unit("tools/statefile", "what_is_not_believed")),
    Mutant("a state folder that others may write is believed", STATEFILE,
           "if facts.st_mode & 0o022 and not sticky and not stat.S_ISLNK(facts.st_mode):", "if False:",
           unit("tools/statefile", "a_folder_that_others_may_change_is_not_believed")
           + agent("security", "nothing_in_a_state_folder_that_others_can_change_is_believed")),
    Mutant("a state file is written in its place, so that it may be torn", STATEFILE,
           'temporary = "%s.%d.new" % (path, os.getpid())', "temporary = path",
           unit("tools/statefile", "a_write_that_fails_leaves_the_old_file")),
    Mutant("the lock is inherited by children, who may outlive us", LOCK,
           "fcntl.lockf(self._descriptor", "fcntl.flock(self._descriptor",
           unit("tools/lock", "a_child_that_outlives_the_holder_does_not_keep_it")),

    # -- commands: nothing hangs, nothing leaks
    Mutant("a child that cannot be ended is started again at every call", COMMAND,
           "before = self._still_abandoned(name) if remember else 0", "before = 0",
           unit("tools/command", "an_abandoned_child_is_noted_and_not_piled_up") + agent("hang", "cjcpw_on_a_hung_file_system")),
    Mutant("a command that prints too much is ended, whatever its answer is", COMMAND,
           "os.ftruncate(output, 0)", "_kill(pid)",
           unit("tools/command", "the_memory_file_takes_no_more_than_its_limit_and_no_write_fails")),
    Mutant("of a command that took too long only the first process is ended", COMMAND,
           "for kill in (os.killpg, os.kill):", "for kill in (os.kill,):",
           unit("tools/command", "timeout_kills_the_whole_group")),
    Mutant("cjcpw gets the caller's environment", COMMAND,
           "os.execve(program, [program, *arguments], environment)", "os.execve(program, [program, *arguments], dict(os.environ, **environment))",
           unit("tools/command", "the_environment_is_exactly_the_one_given") + agent("hostile_environment", "nothing_of_the_caller_s_environment_is_trusted")),
    Mutant("daemons inherit the cluster's descriptors", COMMAND,
           "if int(name) > 2:", "if False:",
           unit("tools/command", "no_descriptor_is_inherited")
           + agent("hostile_environment", "inherited_descriptors_umask_and_limits_do_not_reach_the_daemons")),
    Mutant("another user keeps root's groups", COMMAND,
           "os.initgroups(entry.pw_name, entry.pw_gid)", "pass",
           unit("tools/command", "user_is_taken_for_good") + agent("user", "the_site_runs_as_the_user")),
    Mutant("commands are looked up in the caller's PATH", COMMAND,
           'PATH.split(":")', 'os.environ.get("PATH", PATH).split(":")',
           unit("tools/command", "tool_ignores_the_callers_path") + agent("hostile_environment", "nothing_of_the_caller_s_environment_is_trusted")),

    # -- what comes in from outside
    Mutant("the wrapper leaves LD_* to the interpreter", WRAPPER,
           "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT LD_DEBUG", "LD_DEBUG",
           agent("hostile_environment", "nothing_of_the_caller_s_environment_is_trusted")),
    Mutant("the interpreter reads the caller's PYTHON*", WRAPPER,
           'exec "$PYTHON" -I -S', 'exec "$PYTHON" -S',
           agent("hostile_environment", "nothing_of_the_caller_s_environment_is_trusted")),
    Mutant("without an interpreter a recurring monitor says not installed", WRAPPER,
           "stop:* | monitor:*[1-9]*)", "stop:*)",
           agent("install", "a_node_without_a_fit_python_says_so")),
    Mutant("a value can forge a line of the log", LOG,
           'text = "%s: %s" % (level, one_line(text))', 'text = "%s: %s" % (level, text)',
           unit("tools/log", "into_the_files") + agent("hostile_environment", "cjcpw_s_words_cannot_forge_a_log_line")),
    Mutant("a value can forge a second exit reason", OCF,
           "logging.one_line(words)))", "words))",
           agent("hostile_environment", "cjcpw_s_words_cannot_forge_a_log_line")),
    Mutant("a status code may mean that cjcpw could not be run", "agent/cjc_agent/settings/values.py",
           "if code in (126, 127):", "if False:",
           unit("settings/values", "bad")),
)
