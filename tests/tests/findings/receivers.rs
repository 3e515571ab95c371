//! The agent's sinks against receivers of the distribution: rsyslog over each way, and Alertmanager. Each has a dead one beside it, which
//! must cost nobody anything.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    agent::{Mode, Setup, http},
    cgroup::Cgroup,
    netns::Netns,
    place::Place,
    program::{Program, Running},
    wait::{deadline, eventually},
};

const RUNS: usize = 20;

/// Certificates of a test's own, for `localhost`.
fn certificate(place: &Place) -> Result<()> {
    let made = Program::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(place.join("key.pem"))
        .arg("-out")
        .arg(place.join("cert.pem"))
        .finish(deadline(30.0))?;
    ensure!(made.status.success(), "openssl: {}", made.stderr);
    Ok(())
}

/// A server that writes what comes over each way to a file of its own.
fn rsyslog(place: &Place, netns: &Netns) -> Result<Running> {
    certificate(place)?;
    let path = |name: &str| place.join(name).display().to_string();
    let ruleset = |name: &str| {
        format!(
            "ruleset(name=\"{name}\") {{ action(type=\"omfile\" file=\"{}\" template=\"line\") }}\n",
            path(&format!("{name}.log"))
        )
    };
    let config = format!(
        "global(workDirectory=\"{}\" maxMessageSize=\"64k\" defaultNetstreamDriverCAFile=\"{cert}\"\n\
           defaultNetstreamDriverCertFile=\"{cert}\" defaultNetstreamDriverKeyFile=\"{}\")\n\
         template(name=\"line\" type=\"string\" \
           string=\"%syslogfacility-text% %syslogseverity% %app-name% %msgid% %hostname% %msg%\\n\")\n\
         {}{}{}{}\
         module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
         input(type=\"imuxsock\" Socket=\"{}\" ruleset=\"unix\" useSpecialParser=\"off\" parseHostname=\"on\" RateLimit.Interval=\"0\")\n\
         module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"514\" ruleset=\"udp\")\n\
         module(load=\"imtcp\")\ninput(type=\"imtcp\" port=\"601\" ruleset=\"tcp\")\n\
         input(type=\"imtcp\" port=\"6514\" ruleset=\"tls\" streamDriver.Name=\"gtls\" streamDriver.Mode=\"1\" \
           streamDriver.AuthMode=\"anon\")\n",
        path(""),
        path("key.pem"),
        ruleset("unix"),
        ruleset("udp"),
        ruleset("tcp"),
        ruleset("tls"),
        path("log.sock"),
        cert = path("cert.pem"),
    );
    fs::write(place.join("rsyslog.conf"), config)?;
    let server = Program::new("/usr/sbin/rsyslogd").args(["-n", "-f"]).arg(place.join("rsyslog.conf"));
    let mut server = server.arg("-i").arg(place.join("pid")).within(netns)?.start()?;
    let ready = eventually("rsyslog's socket", deadline(20.0), || {
        ensure!(server.runs()?, "rsyslog ended: {}", server.kill_and_tell());
        Ok(place.join("log.sock").exists().then_some(()))
    });
    ready.with_context(|| server.kill_and_tell())?;
    Ok(server)
}

fn lines(path: &Path) -> Result<Vec<String>> {
    Ok(fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect())
}

#[test]
fn rsyslog_gets_every_finding_over_each_way_and_a_dead_one_holds_up_nobody() -> Result<()> {
    let (place, group, netns) = (Place::new()?, Cgroup::new()?, Netns::new()?);
    let victim = place.copy("exit0", "victim")?;
    let server = rsyslog(&place, &netns)?;
    let sink = |url: &str| format!("[[sink]]\ntype = \"syslog\"\nfold = \"0s\"\nurl = {url:?}\n\n");
    let rules = format!(
        "[[exec]]\nname = \"victims\"\ndeny = [{victim:?}]\naction = \"alert\"\nseverity = \"high\"\n\n{}{}{}{}ca = {:?}\n\n{}",
        sink(&format!("unix://{}", place.join("log.sock").display())),
        sink("udp://127.0.0.1:514"),
        sink("tcp://127.0.0.1:601"),
        sink("tls://localhost:6514").trim_end().to_owned() + "\n",
        place.join("cert.pem"),
        // Nobody listens there.
        sink("tcp://127.0.0.1:602"),
    );
    let agent = Setup::new(Mode::Observe, &group).within(&netns).rules(&rules).start()?;
    for _ in 0..RUNS {
        Program::new(&victim).inside(&group)?.finish(deadline(10.0))?;
    }
    for way in ["unix", "udp", "tcp", "tls"] {
        let path = place.join(format!("{way}.log"));
        let got = eventually(&format!("findings over {way}"), deadline(30.0), || {
            Ok(Some(lines(&path)?).filter(|lines| lines.len() >= RUNS))
        });
        let got = got.with_context(|| format!("{:?}", fs::read_to_string(&path)))?;
        assert_eq!(got.len(), RUNS, "{way}");
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname")?;
        for line in got {
            let head = format!("authpriv 3 monitor exec {} ", hostname.trim_end());
            let said = line.strip_prefix(&head).with_context(|| format!("{way}: {line}"))?;
            let finding: Value =
                serde_json::from_str(said.trim_start()).with_context(|| format!("{way}: {line}"))?;
            assert_eq!((&finding["rule"], &finding["severity"]), (&"victims".into(), &"high".into()));
        }
    }
    let delivered =
        |sink: &str| agent.metrics().map(|all| all.sum("monitor_sink_delivered_total", &[("sink", sink)]));
    assert_eq!(delivered("syslog5")?, 0.0, "nobody took it");
    // The others have all of it, and the agent's own file too.
    assert_eq!(agent.records().findings("victims")?.len(), RUNS);
    drop(server);
    agent.stop()?;
    Ok(())
}

#[test]
fn alertmanager_shows_an_alert_for_a_finding() -> Result<()> {
    let (place, group, netns) = (Place::new()?, Cgroup::new()?, Netns::new()?);
    let victim = place.copy("exit0", "victim")?;
    let config = place.join("alertmanager.yml");
    fs::write(&config, "route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n")?;
    let manager = Program::new("prometheus-alertmanager")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", place.directory("alerts")?.display()))
        .args(["--web.listen-address=127.0.0.1:9093", "--cluster.listen-address="]);
    let rules = format!(
        "[[exec]]\nname = \"victims\"\ndeny = [{victim:?}]\naction = \"alert\"\nseverity = \"critical\"\nattack = [\"T1059\"]\n\n\
         [[sink]]\ntype = \"alertmanager\"\nurl = \"http://127.0.0.1:9093\"\n"
    );
    let agent = Setup::new(Mode::Observe, &group).within(&netns).rules(&rules).start()?;
    Program::new(&victim).inside(&group)?.finish(deadline(10.0))?;
    // It comes when the finding waits already.
    agent.records().wait_for("the finding", deadline(30.0), |record| record["rule"] == "victims")?;
    let mut manager = manager.within(&netns)?.start()?;
    let alerts = eventually("the alert", deadline(60.0), || {
        ensure!(manager.runs()?, "Alertmanager ended: {}", manager.kill_and_tell());
        let address = "127.0.0.1:9093".parse()?;
        let Ok((200, body)) = netns.run(|| http::get(address, "/api/v2/alerts")) else { return Ok(None) };
        // Its answer may be chunked.
        let (Some(from), Some(to)) = (body.find('['), body.rfind(']')) else { return Ok(None) };
        let alerts: Value = serde_json::from_str(&body[from..=to])?;
        Ok(alerts.as_array().filter(|alerts| !alerts.is_empty()).cloned())
    })?;
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    let (labels, notes) = (&alerts[0]["labels"], &alerts[0]["annotations"]);
    assert_eq!((&labels["alertname"], &labels["rule"]), (&"MonitorFinding".into(), &"victims".into()));
    assert_eq!((&labels["severity"], &notes["attack"]), (&"critical".into(), &"T1059".into()));
    assert_eq!(notes["object"].as_str(), victim.to_str());
    agent.wait_for_metric(
        "monitor_sink_delivered_total",
        &[("sink", "alertmanager")],
        1.0,
        deadline(10.0),
    )?;
    agent.stop()?;
    Ok(())
}
