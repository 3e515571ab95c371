//! The table of metrics.

use super::{
    metric::{
        Chapter::{Agent, Databases, Enforcement, Events, Findings, Kernel, Packets, Sinks},
        Metric,
        Type::{Counter, Gauge, Histogram, Info},
        Unit,
    },
    read,
};

/// Every metric, in the order it is exposed.
pub static METRICS: &[Metric] = &[
    Metric::new(Counter, Events, "monitor_events_seen_total", &["kind"], read::events_seen)
        .help("Events that happened in scope, as the kernel programs counted them."),
    Metric::new(Counter, Events, "monitor_events_delivered_total", &["kind"], read::events_delivered)
        .help("Events that the agent received and read."),
    Metric::new(
        Counter,
        Events,
        "monitor_events_suppressed_total",
        &["kind", "reason"],
        read::events_suppressed,
    )
    .help("Events that were left out on purpose."),
    Metric::new(Counter, Events, "monitor_events_lost_total", &["kind", "reason"], read::events_lost)
        .help("Events that should have been delivered and were not."),
    Metric::new(Gauge, Events, "monitor_cgroups_throttled", &[], read::cgroups_throttled)
        .help("Control groups that make more events than `[agent] events_per_cgroup` has told; 64 at most are told apart."),
    Metric::new(
        Counter,
        Findings,
        "monitor_findings_total",
        &["rule", "kind", "verdict", "mode"],
        read::findings,
    )
    .help("Decisions of a rule other than to allow; in mode observe the verdict was not carried out."),
    Metric::new(Counter, Packets, "monitor_packets_total", &["rule", "verdict", "mode"], read::packets)
        .help("Packets that a rate limit judged; in mode observe the verdict drop was not carried out."),
    Metric::new(Counter, Packets, "monitor_bytes_total", &["rule", "verdict", "mode"], read::bytes)
        .unit(Unit::Bytes)
        .help("Bytes of the packets that a rate limit judged, from the link header on."),
    Metric::new(Counter, Packets, "monitor_packets_protected_total", &["rule"], read::packets_protected)
        .help("Packets over a rate limit that passed because their source or port is protected; also counted as allowed."),
    Metric::new(Gauge, Packets, "monitor_lifelines", &["reason"], read::lifelines)
        .help("Addresses that no rate limit, penalty or ban drops although [agent] protect does not name them; left_out: that had no room."),
    Metric::new(
        Counter,
        Packets,
        "monitor_packets_over_total",
        &["rule", "cause"],
        read::packets_over,
    )
    .help("Packets over a rate limit that were dropped, or would have been in mode observe, by what was too much."),
    Metric::new(Counter, Packets, "monitor_packets_spared_total", &["rule"], read::packets_spared)
        .help("Packets of established connections that passed although their source was over its rate; also counted as allowed."),
    Metric::new(
        Counter,
        Packets,
        "monitor_packets_unparsed_total",
        &["reason", "outcome"],
        read::packets_unparsed,
    )
    .help("IP packets whose ports can not be told, and what the limit for such packets did with them."),
    Metric::new(Gauge, Packets, "monitor_sources_tracked", &["rule"], read::sources_tracked)
        .help("Sources whose rate is tracked; counted every ten seconds."),
    Metric::new(Gauge, Packets, "monitor_penalties_active", &["rule"], read::penalties_active)
        .help("Sources that serve a penalty of a rate limit; counted every five seconds or more."),
    Metric::new(Gauge, Packets, "monitor_penalties_repeated", &["rule"], read::penalties_repeated)
        .help("Sources that serve a penalty of a rate limit and have served one before."),
    Metric::new(Gauge, Packets, "monitor_bans_active", &["kind"], read::bans_active)
        .help("Bans by hand: of hosts (addresses and IPv6 networks of 64 bits) and of other networks."),
    Metric::new(
        Counter,
        Packets,
        "monitor_bans_state_failures_total",
        &["operation"],
        read::bans_state_failures,
    )
    .help("Times that the bans kept on the disk could not be read or written."),
    Metric::new(
        Counter,
        Databases,
        "monitor_database_connections_total",
        &["database", "direction", "workload", "verdict", "mode"],
        read::database_connections,
    )
    .help(
        "Connections, binds and packets that a database rule decided on: by clients of this host, by who wants to be \
         the server, and from sources (each packet counts).",
    ),
    Metric::new(
        Gauge,
        Databases,
        "monitor_database_open_connections",
        &["database", "direction", "workload"],
        read::database_open,
    )
    .help("TCP connections to a database by clients of this host, or accepted by its server here, that are open."),
    Metric::new(
        Counter,
        Databases,
        "monitor_database_received_bytes_total",
        &["database", "direction", "workload"],
        read::database_received,
    )
    .unit(Unit::Bytes)
    .help("Bytes from the other end of connections that have ended."),
    Metric::new(
        Counter,
        Databases,
        "monitor_database_sent_bytes_total",
        &["database", "direction", "workload"],
        read::database_sent,
    )
    .unit(Unit::Bytes)
    .help("Bytes to the other end of connections that have ended, as far as it acknowledged them."),
    Metric::new(
        Histogram,
        Databases,
        "monitor_database_connection_duration_seconds",
        &["database", "direction", "workload"],
        read::database_duration,
    )
    .unit(Unit::Seconds)
    .help("How long connections lived that have ended."),
    Metric::new(Info, Enforcement, "monitor_policy_info", &["sha256", "generation", "mode"], read::policy)
        .help("The policy in force and the mode of rules that do not name one."),
    Metric::new(
        Info,
        Enforcement,
        "monitor_rule_info",
        &["rule", "kind", "severity", "practice", "attack", "when_stale"],
        read::rule,
    )
    .help("What the rules in force say of themselves, to join with; ATT&CK ids are separated by commas."),
    Metric::new(Counter, Enforcement, "monitor_policy_reloads_total", &["outcome"], read::policy_reloads)
        .help("New policies that the running agent was given; unless applied, the old one stays in force."),
    Metric::new(
        Info,
        Enforcement,
        "monitor_capability_info",
        &["feature", "state", "reason"],
        read::capability,
    )
    .help("What this kernel can do for the policy in force."),
    Metric::new(Info, Enforcement, "monitor_attach_info", &["interface", "mode"], read::attach)
        .help("How the packets of an interface are watched; for 64 interfaces at most."),
    Metric::new(Gauge, Enforcement, "monitor_attach_info_left_out", &[], read::attach_left_out)
        .help("Interfaces whose packets are watched and for which monitor_attach_info has no room."),
    Metric::new(Gauge, Enforcement, "monitor_interfaces_covered", &[], read::covered)
        .help("Interfaces whose packets are watched."),
    Metric::new(Gauge, Enforcement, "monitor_interfaces_uncovered", &["reason"], read::uncovered)
        .help("Interfaces whose packets should be watched and are not; the log says which and why."),
    Metric::new(Counter, Enforcement, "monitor_interface_changes_total", &["change"], read::changes)
        .help("Interfaces that came to be watched or ceased to be, and how; unheard: events that were lost, made up for by looking."),
    Metric::new(Gauge, Enforcement, "monitor_enforcement_live", &["path"], read::enforcement_live)
        .help("Whether the last canary of this way of enforcement was refused as it should be: 1 or 0."),
    Metric::new(
        Gauge,
        Enforcement,
        "monitor_canary_last_success_timestamp_seconds",
        &["path"],
        read::canary_last_success,
    )
    .unit(Unit::Seconds)
    .help("When a canary of this way of enforcement was last refused as it should be, since the epoch."),
    Metric::new(Gauge, Kernel, "monitor_processes_unknown", &[], read::processes_unknown)
        .help("Running processes whose executable is not known; they belong to no workload."),
    Metric::new(Counter, Kernel, "monitor_process_table_full_total", &[], read::process_table_full)
        .help("Processes that could not be remembered because the table was full."),
    Metric::new(Counter, Kernel, "monitor_connection_table_full_total", &[], read::connection_table_full)
        .help("Connections to and of databases that could not be remembered because the table was full: not counted as open."),
    Metric::new(Counter, Kernel, "monitor_unknown_process_decisions_total", &[], read::unknown_decisions)
        .help("Decisions asked for a process that is not known."),
    Metric::new(Counter, Kernel, "monitor_stale_files_total", &[], read::stale_files)
        .help("Execs of a file that was changed after the policy resolved its path."),
    Metric::new(Counter, Kernel, "monitor_files_replaced_total", &[], read::files_replaced)
        .help("Times that a path of the policy was found to lead to another file than before: upgrades."),
    Metric::new(Gauge, Kernel, "monitor_files_unverified", &[], read::files_unverified)
        .help("Files of the policy whose content is not the one it gives, or not known to be; they are no members."),
    Metric::new(Counter, Kernel, "monitor_unverified_execs_total", &[], read::unverified_execs)
        .help("Execs of a file whose content is not the one that the policy gives."),
    Metric::new(Counter, Kernel, "monitor_cgroup_table_full_total", &[], read::cgroup_table_full)
        .help("Cgroups that could not be compared with the policy or remembered: too many, or too long a path."),
    Metric::new(Counter, Kernel, "monitor_exec_hook_runs_total", &["hook"], read::exec_hook_runs)
        .help("Runs of the hooks at exec; tracepoint without lsm means that the LSM hook is not called."),
    Metric::new(Counter, Kernel, "monitor_program_runs_total", &["program"], read::program_runs)
        .help("Runs of a kernel program, counted while the kernel's BPF statistics are on."),
    Metric::new(
        Counter,
        Kernel,
        "monitor_program_run_seconds_total",
        &["program"],
        read::program_run_seconds,
    )
    .unit(Unit::Seconds)
    .help("Time spent in a kernel program, counted while the kernel's BPF statistics are on."),
    Metric::new(Gauge, Kernel, "monitor_map_entries", &["map"], read::map_entries)
        .help("Entries in a map of the kernel programs; counted every ten seconds."),
    Metric::new(Gauge, Kernel, "monitor_map_capacity", &["map"], read::map_capacity)
        .help("Entries that the map can hold."),
    Metric::new(Gauge, Kernel, "monitor_map_memory_bytes", &["map"], read::map_bytes)
        .unit(Unit::Bytes)
        .help("Memory that the kernel accounts for a map of the kernel programs."),
    Metric::new(Counter, Sinks, "monitor_sink_delivered_total", &["sink"], read::sink_delivered)
        .help("Events and findings that a sink wrote."),
    Metric::new(Counter, Sinks, "monitor_sink_folded_total", &["sink"], read::sink_folded)
        .help("Findings that a sink tells of in a summary, as they say what one before said."),
    Metric::new(Counter, Sinks, "monitor_sink_lost_total", &["sink", "reason"], read::sink_lost)
        .help("Events and findings that a sink was offered and did not write."),
    Metric::new(Counter, Sinks, "monitor_sink_written_bytes_total", &["sink"], read::sink_bytes)
        .unit(Unit::Bytes)
        .help("Bytes that a sink of lines (stdout, file) wrote; stays 0 for the others."),
    Metric::new(Counter, Sinks, "monitor_sink_errors_total", &["sink"], read::sink_errors)
        .help("Writes, or attempts to send, of a sink that failed; the log says why."),
    Metric::new(Gauge, Sinks, "monitor_sink_queue_entries", &["sink"], read::sink_queue)
        .help("Events in the queue of a sink."),
    Metric::new(Gauge, Sinks, "monitor_sink_queue_high_water", &["sink"], read::sink_queue_most)
        .help("The most events that were in the queue of a sink at a time."),
    Metric::new(Gauge, Sinks, "monitor_sink_queue_capacity", &["sink"], read::sink_queue_capacity)
        .help("Events that the queue of a sink can hold."),
    Metric::new(Histogram, Sinks, "monitor_sink_latency_seconds", &["sink"], read::sink_latency)
        .unit(Unit::Seconds)
        .help("How long it took from the hook in the kernel until a sink had written the event; records gather for 10 ms."),
    Metric::new(Info, Agent, "monitor_build_info", &["version", "object_sha256"], read::build)
        .help("The agent's version and the kernel object embedded in it."),
    Metric::new(Info, Agent, "monitor_kernel_info", &["release"], read::kernel)
        .help("The running kernel."),
    Metric::new(Counter, Agent, "monitor_series_folded_total", &["metric"], read::series_folded)
        .help("Sets of labels that a scrape found and had no room for; they are added up in a series whose labels all say other."),
    Metric::new(Counter, Agent, "monitor_http_requests_total", &["path", "status"], read::http_requests)
        .help("HTTP requests that were answered."),
    Metric::new(Counter, Agent, "monitor_control_requests_total", &["outcome"], read::control_requests)
        .help("Requests at the control socket; refused are connections that were not taken."),
    Metric::new(Counter, Agent, "monitor_agent_stale_seconds_total", &[], read::gone_seconds)
        .unit(Unit::Seconds)
        .help("Time without a sign of life of an agent, beyond [agent] stale_after: of this one, and before it took over."),
    Metric::new(Counter, Agent, "process_cpu_seconds_total", &[], read::cpu_seconds)
        .unit(Unit::Seconds)
        .help("User and system time the agent used."),
    Metric::new(Gauge, Agent, "process_resident_memory_bytes", &[], read::resident_bytes)
        .unit(Unit::Bytes)
        .help("Memory of the agent that is resident."),
    Metric::new(Gauge, Agent, "process_open_fds", &[], read::open_fds)
        .help("File descriptors the agent has open."),
    Metric::new(Gauge, Agent, "process_start_time_seconds", &[], read::start_seconds)
        .unit(Unit::Seconds)
        .help("When the agent was started, since the epoch."),
];
