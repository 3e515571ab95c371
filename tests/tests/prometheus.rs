//! What an operator reads: the distribution's Prometheus and Alertmanager beside a running agent. How often programs were
//! started and connections made by the scenario itself is the oracle; what the agent says is only ever asked through them.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{
    agent::{Agent, Mode, Setup, http},
    cgroup::Cgroup,
    netns::Netns,
    place::Place,
    program::{Program, Running},
    wait::{deadline, eventually},
};

const PROMETHEUS: &str = "127.0.0.1:9090";
const ALERTMANAGER: &str = "127.0.0.1:9093";
/// Runs of the program that the rule is about.
const RUNS: usize = 7;
/// The database of the scenario.
const PORT: u16 = 5432;

/// Everything that runs, all in one network namespace.
struct Stage<'a> {
    netns: &'a Netns,
    prometheus: Running,
    manager: Running,
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn encoded(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

impl<'a> Stage<'a> {
    fn new(netns: &'a Netns, place: &Place, agent: &Agent) -> Result<Self> {
        let rules = repository().join("deploy/prometheus/monitor.rules.yml").canonicalize()?;
        let config = place.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{rules:?}]\n\
             scrape_configs: [{{job_name: monitor, static_configs: [{{targets: [{:?}]}}]}}]\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: [{ALERTMANAGER:?}]}}]}}]}}\n",
            agent.address()?.to_string(),
        );
        fs::write(&config, text)?;
        let receivers = place.join("alertmanager.yml");
        fs::write(&receivers, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")?;
        let prometheus = Program::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", place.directory("series")?.display()))
            .arg(format!("--web.listen-address={PROMETHEUS}"));
        let manager = Program::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", receivers.display()))
            .arg(format!("--storage.path={}", place.directory("alerts")?.display()))
            .arg(format!("--web.listen-address={ALERTMANAGER}"))
            .arg("--cluster.listen-address=");
        Ok(Self {
            netns,
            prometheus: prometheus.within(netns)?.start()?,
            manager: manager.within(netns)?.start()?,
        })
    }

    /// What an API answers; `None` while it isn't there yet.
    fn ask(&self, address: &str, path: &str) -> Result<Option<Value>> {
        let address = address.parse()?;
        match self.netns.run(|| http::get(address, path)) {
            Ok((200, body)) => Ok(Some(serde_json::from_str(&body)?)),
            Ok((status @ 400..500, body)) => anyhow::bail!("{path}: {status}: {body}"),
            _ => Ok(None),
        }
    }

    /// The series that a query finds, as they are now.
    fn query(&self, query: &str) -> Result<Option<Vec<Value>>> {
        let path = format!("/api/v1/query?query={}", encoded(query));
        let answer = self.ask(PROMETHEUS, &path).with_context(|| query.to_owned())?;
        Ok(answer.and_then(|answer| answer["data"]["result"].as_array().cloned()))
    }

    /// Waits until a query finds one series with this value.
    fn wait_for(&mut self, query: &str, value: f64) -> Result<()> {
        eventually(query, deadline(60.0), || {
            ensure!(self.prometheus.runs()?, "Prometheus ended: {}", self.prometheus.kill_and_tell());
            ensure!(self.manager.runs()?, "Alertmanager ended: {}", self.manager.kill_and_tell());
            let found = self.query(query)?.unwrap_or_default();
            let is = |series: &Value| {
                series["value"][1].as_str().and_then(|text| text.parse().ok()) == Some(value)
            };
            Ok((found.len() == 1 && is(&found[0])).then_some(()))
        })
    }
}

/// The agent's metrics are what promtool takes for good ones.
fn check_metrics(agent: &Agent) -> Result<()> {
    let (status, text) = agent.get("/metrics")?;
    ensure!(status == 200, "{status}");
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checking = promtool.spawn()?;
    checking.stdin.take().context("no standard input")?.write_all(text.as_bytes())?;
    let output = checking.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "promtool check metrics: {said}");
    Ok(())
}

/// Every query of the dashboard, with all jobs and instances chosen.
fn dashboard() -> Result<Vec<(String, String)>> {
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(repository().join("deploy/grafana/monitor.json"))?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let target = |panel: &Value| {
        let query = panel["targets"][0]["expr"].as_str()?;
        let chosen = query.replace("$job", ".*").replace("$instance", ".*");
        Some((panel["title"].as_str()?.to_owned(), chosen))
    };
    Ok(panels.iter().filter_map(target).collect())
}

#[test]
fn prometheus_reads_what_happened_and_alertmanager_hears_of_it() -> Result<()> {
    let (place, group, netns) = (Place::new()?, Cgroup::new()?, Netns::new()?);
    let victim = place.copy("exit0", "victim")?;
    let rules = format!(
        "[[exec]]\nname = \"victims\"\ndeny = [{victim:?}]\naction = \"alert\"\nseverity = \"high\"\nattack = [\"T1204\"]\n\n\
         [[database]]\nname = \"orders\"\nports = [{PORT}]\nclients = []\n"
    );
    let agent = Setup::new(Mode::Observe, &group).within(&netns).rules(&rules).start()?;
    check_metrics(&agent)?;
    let mut stage = Stage::new(&netns, &place, &agent)?;
    stage.wait_for("up{job=\"monitor\"}", 1.0)?;

    for _ in 0..RUNS {
        Program::new(&victim).inside(&group)?.finish(deadline(10.0))?;
    }
    let server = netns.run(|| Ok(TcpListener::bind(("127.0.0.1", PORT))?))?;
    let client = Program::new("bash")
        .args(["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{PORT}")])
        .within(&netns)?
        .inside(&group)?;
    client.finish(deadline(10.0))?;
    server.accept()?;

    let joined = "monitor_findings_total{rule=\"victims\"} * on (job, instance, rule, kind) \
                  group_left (severity, attack) monitor_rule_info{severity=\"high\",attack=\"T1204\"}";
    stage.wait_for(joined, RUNS as f64)?;
    stage.wait_for("sum(monitor_database_connections_total{database=\"orders\",workload=\"other\"})", 1.0)?;
    let alert = eventually("the alert", deadline(60.0), || {
        let alerts = stage.ask(ALERTMANAGER, "/api/v2/alerts")?.unwrap_or_default();
        let name = |alert: &&Value| alert["labels"]["alertname"] == "MonitorDatabaseReachedByUnknown";
        Ok(alerts.as_array().and_then(|alerts| alerts.iter().find(name)).cloned())
    })?;
    assert_eq!(alert["labels"]["database"], "orders", "{alert:#}");

    let queries = dashboard()?;
    ensure!(queries.len() >= 20, "{} queries", queries.len());
    for (title, query) in queries {
        stage.query(&query)?.with_context(|| format!("panel {title:?} is not answered"))?;
    }
    for query in
        ["monitor_map_entries{map=\"PROCESSES\"} > 0", "monitor_map_memory_bytes{map=\"PROCESSES\"} > 0"]
    {
        ensure!(stage.query(query)?.is_some_and(|found| found.len() == 1), "{query}");
    }
    agent.stop()?;
    Ok(())
}
