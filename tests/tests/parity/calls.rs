//! Real system calls against an agent, and what `explain` says of each.

mod policy;

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use tests::{
    agent::{Mode, Setup, doctor::security_hooks, turn},
    cgroup::Cgroup,
    life::Life,
    place::Place,
    program::Program,
    server::Server,
    wait::slowdown,
};

use super::{explain, seeded};

/// Nobody, and root; each with the group of the same number.
const USERS: [u32; 2] = [0, 65534];
/// Cgroups below the scope.
const GROUPS: [&str; 2] = ["one.service", "two.slice/three"];
/// Programs that live, and programs that they start.
const LIVING: [&str; 2] = ["p/a", "p/b"];
const STARTED: [&str; 3] = ["t/x", "t/y", "t/z"];
/// Scripts, each with its interpreter.
const SCRIPTS: [(&str, &str); 3] = [("t/script", "t/x"), ("s/z", "t/y"), ("s/outer", "t/script")];

/// Where it happens.
struct Scene {
    place: Place,
    slice: Cgroup,
    groups: Vec<Cgroup>,
    server: Server,
    /// Ports that nobody has.
    free: Vec<u16>,
}

/// A process, and how it came to be.
struct Actor {
    life: Life,
    /// As a request tells it.
    who: Map<String, Value>,
    user: u32,
}

/// A system call to be made, and the request that describes it.
struct Call {
    actor: usize,
    act: Act,
    request: Value,
}

enum Act {
    Connect(SocketAddr),
    Bind(SocketAddr),
    Start(PathBuf, Vec<&'static str>),
    Raw,
}

impl Scene {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        for name in LIVING {
            place.copy("probe", name)?;
        }
        for name in STARTED {
            place.copy("exit0", name)?;
        }
        for (name, interpreter) in SCRIPTS {
            place.script(name, &place.join(interpreter))?;
        }
        let slice = Cgroup::slice()?;
        let groups = GROUPS.iter().map(|name| slice.below(name)).collect::<Result<_>>()?;
        let server = Server::start(&place, None, &["0.0.0.0:0", "0.0.0.0:0"], &[])?;
        let listeners: Vec<_> =
            (0..2).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
        let free = listeners.iter().map(|one| Ok(one.local_addr()?.port())).collect::<Result<_>>()?;
        Ok(Self { place, slice, groups, server, free })
    }

    fn path(&self, name: &str) -> String {
        self.place.join(name).display().to_string()
    }

    /// One process for each program, user and cgroup; each second one is a grandchild that changed its program.
    fn actors(&self, explain: &Explain) -> Result<Vec<Actor>> {
        let mut actors = Vec::new();
        for (number, name) in LIVING.iter().enumerate() {
            for user in USERS {
                for group in &self.groups {
                    let grown = actors.len() % 2 == 1;
                    let program = Program::new(self.place.join(name)).inside(group)?;
                    let life = Life::start(if user == 0 { program } else { program.user(user) })?;
                    let user_text = user.to_string();
                    let who = json!({ "exe": self.path(name), "user": user_text, "group": user_text, "cgroup": group.scope() });
                    let mut actor = Actor { life, who: who.as_object().context("an object")?.clone(), user };
                    if grown {
                        self.grow(&mut actor, LIVING[1 - number], explain)?;
                    }
                    actors.push(actor);
                }
            }
        }
        Ok(actors)
    }

    /// A child goes on in its place and executes another program.
    fn grow(&self, actor: &mut Actor, program: &str, explain: &Explain) -> Result<()> {
        actor.who = explain.child(&actor.who)?;
        actor.life.tell("fork")?;
        let before = explain.workloads(&actor.who)?;
        let mut ancestors = actor.who["ancestor"].as_array().cloned().unwrap_or_default();
        ancestors.extend(before);
        actor.who.insert("ancestor".into(), ancestors.into());
        actor.who.insert("exe".into(), self.path(program).into());
        actor.life.tell(&format!("exec program={} -- obey", self.path(program)))?;
        Ok(())
    }

    fn calls(&self, actors: &[Actor], explain: &Explain) -> Result<Vec<Call>> {
        let mut calls = Vec::new();
        for (number, actor) in actors.iter().enumerate() {
            let with = |key: &str, value: Value| {
                let mut who = actor.who.clone();
                who.insert(key.into(), value);
                who
            };
            for server in self.server.tcp() {
                for address in ["127.0.0.1", "127.0.0.2", "::ffff:127.0.0.1"] {
                    let to = SocketAddr::new(address.parse()?, server.port());
                    let request = json!({ "connect": with("to", to.to_string().into()) });
                    calls.push(Call { actor: number, act: Act::Connect(to), request });
                }
            }
            for port in &self.free {
                for address in ["127.0.0.1", "0.0.0.0"] {
                    let at = SocketAddr::new(address.parse()?, *port);
                    let request = json!({ "bind": with("to", at.to_string().into()) });
                    calls.push(Call { actor: number, act: Act::Bind(at), request });
                }
            }
            let child = explain.child(&actor.who)?;
            for name in STARTED.iter().chain(SCRIPTS.iter().map(|(script, _)| script)) {
                for args in [&[][..], &["--dump"]] {
                    let mut who = child.clone();
                    who.insert("file".into(), self.path(name).into());
                    who.insert("args".into(), json!(args));
                    let act = Act::Start(self.place.join(name), args.to_vec());
                    calls.push(Call { actor: number, act, request: json!({ "exec": who }) });
                }
            }
            // Others may open none anyway.
            if actor.user == 0 {
                calls.push(Call {
                    actor: number,
                    act: Act::Raw,
                    request: json!({ "raw": actor.who.clone() }),
                });
            }
        }
        Ok(calls)
    }
}

/// Asks `explain` about processes.
struct Explain<'a> {
    scene: &'a Scene,
    config: PathBuf,
}

impl Explain<'_> {
    fn ask(&self, requests: &[Value]) -> Result<Vec<Value>> {
        explain(&self.scene.place, &self.config, requests, false)
    }

    /// The workloads of a process.
    fn workloads(&self, who: &Map<String, Value>) -> Result<Vec<Value>> {
        let answers = self.ask(&[json!({ "raw": who })])?;
        answers[0]["workloads"].as_array().cloned().context("a list of workloads")
    }

    /// A child of a process, which is a copy of it so far.
    fn child(&self, who: &Map<String, Value>) -> Result<Map<String, Value>> {
        let workloads = self.workloads(who)?;
        let mut child = who.clone();
        let mut ancestors = who.get("ancestor").and_then(Value::as_array).cloned().unwrap_or_default();
        ancestors.extend(workloads.clone());
        child.insert("parent".into(), workloads.into());
        child.insert("ancestor".into(), ancestors.into());
        Ok(child)
    }
}

/// Makes the call; whether it was stopped.
fn is_stopped(call: &Call, actor: &mut Actor) -> Result<bool> {
    let (stopped, answer) = match &call.act {
        Act::Connect(to) => {
            let outcomes = actor.life.reach(&[*to], "parity")?;
            (["EPERM"], json!(outcomes[0]))
        }
        Act::Bind(at) => {
            let answer = actor.life.tell(&format!("bind to={at}"))?;
            let outcomes = answer[at.to_string()].as_object().context("outcomes")?;
            (["EPERM"], json!(outcomes.keys().next()))
        }
        Act::Raw => (["EPERM"], actor.life.tell("raw")?["inet raw"].clone()),
        Act::Start(program, args) => {
            let answer =
                actor.life.tell(&format!("spawn program={} -- {}", program.display(), args.join(" ")))?;
            let refused = answer["started"]["EPERM"] == 1;
            let (killed, ran) = (answer["ended"]["signal 9"] == 1, answer["ended"]["code 0"] == 1);
            ensure!(refused || killed || ran, "{answer}");
            (["stopped"], json!(if ran { "ok" } else { "stopped" }))
        }
    };
    ensure!(answer == "ok" || stopped.iter().any(|word| answer == *word), "{answer} of {}", call.request);
    Ok(answer != "ok")
}

#[test]
fn real_calls_end_as_explained() -> Result<()> {
    const LEAST: usize = 200;
    let mut random = seeded()?;
    let policies = if slowdown() > 1.0 { 2 } else { 4 };
    let lsm = {
        let _turn = turn();
        security_hooks()?
    };
    let (mut made, mut counts) = (0, BTreeMap::<String, usize>::new());
    for _ in 0..policies {
        let scene = Scene::new()?;
        let rules = scene.policy(&mut random);
        let setup = Setup::new(Mode::Enforce, &scene.slice).rules(&rules);
        let config = scene.place.join("policy.toml");
        fs::write(&config, setup.config(&scene.path("records")))?;
        let agent = setup.start()?;
        let explain = Explain { scene: &scene, config };
        let mut actors = scene.actors(&explain)?;
        let calls = scene.calls(&actors, &explain)?;
        let requests: Vec<Value> = calls.iter().map(|call| call.request.clone()).collect();
        for (call, answer) in calls.iter().zip(explain.ask(&requests)?) {
            // Without security hooks of a script only the interpreter is seen.
            let answer = answer.get("without_lsm").filter(|_| !lsm).unwrap_or(&answer);
            let verdict = answer["verdict"].as_str().context("a verdict")?;
            let stops = matches!(verdict, "deny" | "kill") && answer["mode"] == "enforce";
            let stopped =
                is_stopped(call, &mut actors[call.actor]).with_context(|| call.request.to_string())?;
            assert_eq!(stopped, stops, "{}\n{answer}\n{rules}", call.request);
            *counts.entry(format!("{verdict}{}", if stopped { ", stopped" } else { "" })).or_default() += 1;
            made += 1;
        }
        drop(actors);
        agent.stop()?;
    }
    println!("{made} calls over {policies} policies: {counts:?}");
    ensure!(made >= LEAST, "only {made} calls");
    let stopped: usize =
        counts.iter().filter(|(what, _)| what.ends_with("stopped")).map(|(_, count)| count).sum();
    ensure!(stopped >= LEAST / 10 && made - stopped >= LEAST / 10, "{stopped} of {made} were stopped");
    Ok(())
}
