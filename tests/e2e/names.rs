//! Targets by name: what is found, what is not, and what happens when the node behind a name changes.

use std::io;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::Value;
use ssmfwd::lab::Target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Client, Exit, Fixture, Terminal, bounded};

const TASK: &str = "0123456789abcdef0123456789abcdef";

impl Fixture {
    /// A lab with these targets, described as for `ssmfwd lab`.
    pub(crate) async fn with_targets(targets: &[&str]) -> Self {
        let parse = |text: &&str| Target::parse(text).unwrap();
        Self::with(|config| config.targets = targets.iter().map(parse).collect()).await
    }

    /// Runs a command on `target`, and returns the id of the target that it has run on.
    async fn ran_on(&self, options: &[&str]) -> String {
        let arguments = [&["exec"], options, &["--", "true"]].concat();
        self.run(&arguments).await.expect(0, &[]);
        self.lab.sessions().pop().unwrap().target
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.directory().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn nodes(exit: &Exit) -> Vec<Value> {
    exit.expect(0, &[]);
    exit.events()
}

#[tokio::test]
async fn every_selector_leads_to_its_target() {
    let container = format!("ecs:prod_{TASK}_{TASK}-1");
    let fixture = Fixture::with_targets(&[
        "i-0a,Name=web,ip=10.0.0.1,computer=web-1.corp.example",
        "i-0b,Role=back,ip=10.0.0.2,asg=blue",
        "mi-0c,computer=db.corp.example",
        &format!("{container},service=front"),
    ])
    .await;
    fixture.write(
        ".config/ssmfwd/config.toml",
        "[alias]\nback = 'tag:Role=back'\n",
    );
    for (name, id) in [
        ("web", "i-0a"),
        ("tag:Role=back", "i-0b"),
        ("asg:blue", "i-0b"),
        ("10.0.0.1", "i-0a"),
        ("web-1.corp.example", "i-0a"),
        ("db", "mi-0c"),
        ("ip-10-0-0-2.ec2.internal", "i-0b"),
        ("@back", "i-0b"),
        ("ecs:prod/front", container.as_str()),
        (&format!("ecs:prod/{TASK}/app"), &container),
        (&container, &container),
        ("mi-0c", "mi-0c"),
    ] {
        assert_eq!(fixture.ran_on(&[name]).await, id, "{name}");
    }
}

#[tokio::test]
async fn an_id_needs_no_lookup_and_no_permission_for_one() {
    let fixture = Fixture::with_chaos(
        "deny=DescribeInstanceInformation,deny=DescribeInstanceProperties,deny=GetConnectionStatus",
    )
    .await;
    assert_eq!(fixture.ran_on(&["i-0abc"]).await, "i-0abc");
    let named = fixture.run(&["exec", "web", "--", "true"]).await;
    let texts = [
        "ssm:DescribeInstanceInformation was denied",
        "hint: allow ssm:DescribeInstanceInformation",
        "or give the target's id, which needs no lookup",
    ];
    named.expect(3, &texts);
    // There is no list without the permission.
    let listed = fixture.run(&["targets"]).await;
    listed.expect(3, &["hint: allow ssm:DescribeInstanceInformation"]);
    assert!(!listed.stderr.contains("lookup"), "{}", listed.stderr);
}

#[tokio::test]
async fn what_does_not_exist_is_named_with_what_may_be_meant() {
    let fixture = Fixture::with_targets(&["i-0a,Name=web-prod", "i-0b,Role=x"]).await;
    for (name, texts) in [
        (
            "web",
            &["`web`", "us-east-1", "did you mean `web-prod`?"][..],
        ),
        ("tag:Role=y", &["Role=y", "us-east-1", "ssmfwd targets"]),
        ("asg:x", &["Auto Scaling group `x`"]),
        ("10.1.1.1", &["address 10.1.1.1"]),
        ("ecs:prod/web", &["no ECS cluster `prod`"]),
    ] {
        let exit = fixture.run(&[name, "80:0"]).await;
        exit.expect(4, texts);
    }
    let exit = fixture.run(&["@web", "80:0"]).await;
    exit.expect(2, &["there is no alias `web`", "config.toml", "[alias]"]);
    assert_eq!(fixture.lab.sessions(), []);
}

#[tokio::test]
async fn an_alias_without_its_sign_is_suggested() {
    let fixture = Fixture::with_targets(&["i-0a,Name=db-1"]).await;
    fixture.write(".config/ssmfwd/config.toml", "[alias]\ndb = 'db-1'\n");
    for arguments in [
        &["db", "5432:0"][..],
        &["shell", "db"],
        &["proxy", "db"],
        &["targets", "db"],
    ] {
        let exit = fixture.run(arguments).await;
        exit.expect(
            4,
            &["no managed node is called `db`", "did you mean `@db`?"],
        );
    }
    assert_eq!(fixture.ran_on(&["@db"]).await, "i-0a");
    // A node of that name is what was meant.
    let node = Target::parse("i-0b,Name=db").unwrap();
    fixture.lab.replace_target("i-0a", node).await.unwrap();
    assert_eq!(fixture.ran_on(&["db"]).await, "i-0b");
}

#[tokio::test]
async fn several_targets_are_listed_and_any_will_do_on_request() {
    let fixture = Fixture::with_targets(&[
        "i-0a,Name=web,zone=us-east-1a",
        "i-0b,Name=web,zone=us-east-1b,platform=Ubuntu,agent=3.1.1260.0",
        "i-0c,Name=web,offline",
    ])
    .await;
    let exit = fixture.run(&["web", "80:0"]).await;
    exit.expect(
        4,
        &[
            "error: 3 targets match `web`\n",
            "NAME  ID    STATE   AGENT       CAN         ZONE        IP         PLATFORM",
            "web   i-0a  online  3.3.987.0   mux, hosts  us-east-1a  127.0.0.1  Amazon Linux 2023",
            "web   i-0b  online  3.1.1260.0  mux         us-east-1b  127.0.0.1  Ubuntu 2023",
            "web   i-0c  lost ",
            "\nhint: give one of the ids, or --any",
        ],
    );
    let exit = fixture.run(&["--json", "web", "80:0"]).await;
    let error = exit.events().pop().unwrap();
    assert_eq!(error["exit_code"], 4, "{error}");
    assert_eq!(error["matches"][1]["id"], "i-0b", "{error}");
    assert_eq!(error["matches"][2]["state"], "lost", "{error}");
    let exit = fixture.run(&["proxy", "web"]).await;
    exit.expect(4, &["ssmfwd: 3 targets match `web` (i-0a, i-0b, i-0c); "]);
    assert_eq!(exit.stderr.lines().count(), 1);
    assert_eq!(fixture.lab.sessions(), []);
    assert_ne!(fixture.ran_on(&["--any", "web"]).await, "i-0c");
}

#[tokio::test]
async fn the_other_ones_that_are_offline_do_not_matter() {
    let fixture = Fixture::with_targets(&[
        "i-0a,Name=web,offline",
        "i-0b,Name=web",
        "i-0c,Name=db,offline",
    ])
    .await;
    assert_eq!(fixture.ran_on(&["web"]).await, "i-0b");
    let offline = fixture.run(&["db", "80:0"]).await;
    offline.expect(
        4,
        &["i-0c is not connected to Systems Manager (ConnectionLost"],
    );
}

#[tokio::test]
async fn a_name_is_looked_up_before_anything_else_is_put_off() {
    let fixture = Fixture::with_targets(&["i-0a,Name=web", "i-0b,Name=db", "i-0c,Name=db"]).await;
    let exit = fixture.run(&["--lazy", "nosuch", "7:0"]).await;
    exit.expect(4, &["no managed node is called `nosuch`"]);
    let exit = fixture.run(&["--lazy", "db", "7:0"]).await;
    exit.expect(4, &["2 targets match `db`"]);
    // Without good credentials it is put off, too.
    let arguments = ["--json", "--lazy", "web", "80:0"];
    let command = fixture.command_with_keys_in_a_file(&arguments);
    fixture.lab.renew_credentials();
    let mut client = Client::spawn(command);
    let local = client.event("listening").await["port"].as_u64().unwrap();
    let warning = client.event("warning").await;
    let message = warning["message"].as_str().unwrap();
    assert!(
        message.starts_with("`web` will be looked up with the first connection: "),
        "{message}"
    );
    fixture.write_keys();
    assert!(page(local.try_into().unwrap()).await.contains("i-0a"));
    client.stop().await;
}

#[tokio::test]
async fn a_proxy_goes_to_a_name() {
    let fixture = Fixture::with_targets(&["i-0a,Name=web"]).await;
    let mut command = fixture.command(&["proxy", "web", "7"]);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut proxy = command.kill_on_drop(true).spawn().unwrap();
    let mut stdin = proxy.stdin.take().unwrap();
    stdin.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    let mut stdout = proxy.stdout.take().unwrap();
    bounded("the echo", stdout.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(&answer, b"hello");
    assert_eq!(fixture.lab.sessions()[0].target, "i-0a");
}

/// Asks port 80 of the target, which tells whose it is. A connection that is reset has not told anything.
async fn page(local: u16) -> String {
    let mut page = Vec::new();
    let asking = async {
        let mut socket = TcpStream::connect(("127.0.0.1", local)).await?;
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        socket.write_all(request).await?;
        socket.read_to_end(&mut page).await
    };
    let _: io::Result<usize> = bounded("the page", asking).await;
    String::from_utf8_lossy(&page).into_owned()
}

#[tokio::test]
async fn a_target_that_is_replaced_behind_its_tag_is_followed() {
    let fixture = Fixture::with_targets(&["i-0a,Role=web", "i-0b,Role=db"]).await;
    let arguments = ["--json", "tag:Role=web", "80:0", "7:0"];
    let mut client = Client::spawn(fixture.command(&arguments));
    let local = client.connected().await;
    client.connected().await;
    assert!(page(local).await.contains("i-0a"));
    let new = Target::parse("i-0c,Role=web").unwrap();
    fixture.lab.replace_target("i-0a", new).await.unwrap();
    // The agent's end may look like somebody's termination, after which the next connection starts a session.
    let reaching_it = async { while !page(local).await.contains("i-0c") {} };
    bounded("the node that has the tag now", reaching_it).await;
    client.event("restarted").await;
    client.stop().await;
    let targets: Vec<_> = fixture
        .lab
        .sessions()
        .into_iter()
        .map(|s| s.target)
        .collect();
    assert!(
        targets[2..].iter().all(|target| target == "i-0c"),
        "{targets:?}"
    );
    fixture.no_session_left().await;
}

#[tokio::test]
async fn all_forwards_go_to_the_same_one_of_several() {
    let fixture = Fixture::with_targets(&["i-0a,asg=web", "i-0b,asg=web", "i-0c,asg=web"]).await;
    let arguments = ["--json", "asg:web", "80:0", "7:0", "9:0", "19:0"];
    let mut client = Client::spawn(fixture.command(&arguments));
    for _ in 0..4 {
        client.connected().await;
    }
    let sessions = fixture.lab.sessions();
    assert_eq!(sessions.len(), 4);
    assert!(
        sessions
            .iter()
            .all(|session| session.target == sessions[0].target)
    );
    client.stop().await;
}

#[tokio::test]
async fn a_terminal_offers_the_choice() {
    let fixture = Fixture::with_targets(&[
        "i-0a,Name=web,zone=us-east-1a",
        "i-0b,Name=web,zone=us-east-1b",
        "i-0c,Name=web,zone=us-east-1b",
    ])
    .await;
    let mut terminal = Terminal::spawn(fixture.command(&["exec", "web", "--", "echo", "hi"]));
    terminal.shows("3 targets match `web`:\r\n").await;
    terminal.shows("1  web   i-0a").await;
    terminal.shows("number, or text to look for: ").await;
    terminal.input("us-east-1b\r").await;
    terminal.shows("1  web   i-0b").await;
    terminal.shows("2  web   i-0c").await;
    terminal.shows("number, or text to look for: ").await;
    // No number of the list; part of the addresses it may be.
    terminal.input("27\r").await;
    terminal
        .shows("27 is no number of this list, which has 1 to 2\r\n")
        .await;
    terminal.shows("number, or text to look for: ").await;
    terminal.input("2\r").await;
    terminal.shows("hi\r\n").await;
    terminal.exits(0).await;
    assert_eq!(fixture.lab.sessions()[0].target, "i-0c");

    // Ctrl-C gives it up, and so does the end of the input.
    for (key, code, said) in [
        (
            "\x03",
            130,
            "\r\nerror: interrupted before the command was started\r\n",
        ),
        (
            "\x04",
            4,
            "\r\nerror: none of the targets that match `web` was chosen\r\nhint: give its id",
        ),
    ] {
        let mut terminal = Terminal::spawn(fixture.command(&["exec", "web", "--", "true"]));
        terminal.shows("number, or text to look for: ").await;
        terminal.input(key).await;
        let shown = terminal.exits(code).await;
        assert!(shown.contains(said), "{shown:?}");
    }
    // Who wants to hear nothing is not asked.
    let terminal = Terminal::spawn(fixture.command(&["exec", "-q", "web", "--", "true"]));
    let shown = terminal.exits(4).await;
    assert!(!shown.contains("number"), "{shown}");
    assert_eq!(fixture.lab.sessions().len(), 1);
}

#[tokio::test]
async fn the_file_of_aliases_can_be_chosen_and_is_told_from_a_wrong_one() {
    let fixture = Fixture::with_targets(&["i-0a,Name=web"]).await;
    fixture.write("own.toml", "[alias]\nw = 'web'\n");
    fixture.write("xdg/ssmfwd/config.toml", "[alias]\nw = \n");
    assert_eq!(
        fixture.ran_on(&["--config", "own.toml", "@w"]).await,
        "i-0a"
    );
    let with = |name: &str, value: &str| {
        let mut command = fixture.command(&["exec", "@w", "--", "true"]);
        command.env(name, value);
        Client::spawn(command).exit()
    };
    with("SSMFWD_CONFIG", "own.toml").await.expect(0, &[]);
    let missing = with("SSMFWD_CONFIG", "none.toml").await;
    missing.expect(2, &["cannot read none.toml"]);
    let xdg = fixture.directory().join("xdg");
    let wrong = with("XDG_CONFIG_HOME", xdg.to_str().unwrap()).await;
    wrong.expect(2, &["xdg/ssmfwd/config.toml, line 2: "]);
    // What nobody needs may be wrong.
    let mut command = fixture.command(&["exec", "web", "--", "true"]);
    command.env("XDG_CONFIG_HOME", &xdg);
    Client::spawn(command).exit().await.expect(0, &[]);
}

#[tokio::test]
async fn a_wrong_alias_matters_only_to_whoever_uses_it() {
    let fixture = Fixture::with_targets(&["i-0a,Name=web"]).await;
    fixture.write("own.toml", "[alias]\nw = 'web'\nold = 'tag:Role'\n");
    for name in ["@w", "web", "i-0a"] {
        let ran_on = fixture.ran_on(&["--config", "own.toml", name]).await;
        assert_eq!(ran_on, "i-0a", "{name}");
    }
    let exit = fixture.run(&["--config", "own.toml", "@old", "80:0"]).await;
    exit.expect(
        2,
        &["own.toml, line 3: alias `old`: `tag:Role` is not a tag"],
    );
}

#[tokio::test]
async fn targets_are_listed_by_name() {
    let described: Vec<_> = (0..130)
        .map(|n| format!("i-{n:04x},Name=node-{n:03},Role={}", n % 2))
        .collect();
    let mut described: Vec<_> = described.iter().map(String::as_str).collect();
    described.reverse();
    described.push("mi-0f,computer=rack-1,agent=3.0.196.0,offline,ip=192.168.7.7,platform=Microsoft Windows Server 2022");
    let fixture = Fixture::with_targets(&described).await;
    let listed = nodes(&fixture.run(&["targets", "--json"]).await);
    assert_eq!(listed.len(), 131);
    assert_eq!(listed[0]["id"], "i-0000");
    assert_eq!(listed[0]["name"], "node-000");
    assert_eq!(listed[0]["state"], "online");
    assert_eq!(listed[0]["agent_version"], "3.3.987.0");
    assert_eq!(listed[0]["multiplexing"], true);
    assert_eq!(listed[0]["remote_host"], true);
    assert_eq!(listed[0]["zone"], "us-east-1a");
    let last = &listed[130];
    assert_eq!(last["id"], "mi-0f");
    assert_eq!(last["state"], "lost");
    assert_eq!(last["multiplexing"], false);
    assert_eq!(last["ip"], "192.168.7.7");
    assert_eq!(last["platform"], "Microsoft Windows Server 2022 2023");
    assert_eq!(last["last_ping"], Value::Null);
    let ping = listed[0]["last_ping"].as_str().unwrap();
    assert!(ping.starts_with("20") && ping.ends_with('Z'), "{ping}");

    let odd = nodes(&fixture.run(&["targets", "--json", "tag:Role=1"]).await);
    assert_eq!(odd.len(), 65);
    let single = nodes(
        &fixture
            .run(&["targets", "--json", "tag:Name=node-007"])
            .await,
    );
    assert_eq!(single.len(), 1);
    assert_eq!(single[0]["name"], "node-007");
    assert_eq!(single[0]["zone"], "us-east-1a");
    let none = fixture.run(&["targets", "tag:Role=2"]).await;
    none.expect(4, &["no managed node has the tag Role=2"]);
    assert_eq!(none.stdout, "");

    let table = fixture.run(&["targets", "mi-0f"]).await;
    let [headings, line] = table.stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("{}", table.stdout);
    };
    assert_eq!(
        headings,
        "ID     STATE  AGENT      CAN  IP           PLATFORM"
    );
    assert_eq!(
        line,
        "mi-0f  lost   3.0.196.0  -    192.168.7.7  Microsoft Windows Server 2022 2023"
    );
}

#[tokio::test]
async fn a_list_that_was_interrupted_is_told_from_an_empty_one() {
    let fixture = Fixture::with_targets(&[]).await;
    let service = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mut command = fixture.command(&["targets"]);
    let url = format!("http://{}", service.local_addr().unwrap());
    command.env("AWS_ENDPOINT_URL_SSM", url);
    let client = Client::spawn(command);
    let _silent = bounded("a request", service.accept()).await.unwrap();
    client.signal(Signal::INT);
    client.exit().await.expect(130, &["interrupted"]);
}

#[tokio::test]
async fn a_table_fits_into_its_terminal_and_an_empty_one_has_a_hint() {
    let fixture = Fixture::with_targets(&[
        "i-0a,Name=a-rather-long-name-of-a-web-server,platform=Microsoft Windows Server 2022 Datacenter",
    ])
    .await;
    let terminal = Terminal::spawn(fixture.command(&["targets"]));
    let shown = terminal.exits(0).await;
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
    assert!(
        shown.contains("\na-rather-long-name-of-a-web-server  i-0a "),
        "{shown}"
    );
    assert!(
        shown.contains("\n    us-east-1a  127.0.0.1  Microsoft Windows Server 2022 Datacenter"),
        "{shown}"
    );

    let empty = Fixture::with_targets(&[]).await;
    let exit = empty.run(&["targets"]).await;
    exit.expect(0, &["no managed nodes in this account in us-east-1"]);
    assert_eq!(exit.stdout, "");
    let exit = empty.run(&["targets", "--json"]).await;
    assert_eq!((exit.stdout.as_str(), exit.stderr.as_str()), ("", ""));
}

#[tokio::test]
async fn names_are_kept_for_completion_only() {
    let fixture = Fixture::with_targets(&["i-0a,Name=web"]).await;
    fixture.run(&["targets"]).await.expect(0, &[]);
    let cache = fixture.directory().join(".cache/ssmfwd");
    let [file] = std::fs::read_dir(&cache)
        .unwrap()
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let path = file.unwrap().path();
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(kept[0]["name"], "web");
    assert_eq!(kept[0]["id"], "i-0a");
    // The name means another node by now, and that is where one gets.
    let new = Target::parse("i-0b,Name=web").unwrap();
    fixture.lab.replace_target("i-0a", new).await.unwrap();
    assert_eq!(fixture.ran_on(&["web"]).await, "i-0b");
    let kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(kept[0]["id"], "i-0b", "{kept}");
}

#[tokio::test]
async fn the_embedded_lab_has_what_is_named_or_described() {
    let fixture = Fixture::new().await;
    let run = |arguments: &str| {
        let mut command = fixture.bare_command();
        command.args(arguments.split(' '));
        Client::spawn(command).exit()
    };
    for name in ["web", "tag:Role=x", "asg:x", "10.0.0.1", "ecs:c/s/app"] {
        run(&format!("exec --lab {name} -- true"))
            .await
            .expect(0, &[]);
    }
    let two = "--lab --node i-0a,Name=web --node i-0b,Name=web,offline";
    run(&format!("exec {two} web -- true")).await.expect(0, &[]);
    run(&format!("exec {two} db -- true"))
        .await
        .expect(4, &["`db`"]);
    let listed = run(&format!("targets --json {two}")).await;
    assert_eq!(nodes(&listed).len(), 2);
    let empty = run("targets --lab").await;
    empty.expect(0, &["the lab has no nodes", "--node i-0abc,Name=web"]);
    let wrong = run("exec --lab --node web web -- true").await;
    wrong.expect(2, &["`web` is not the id of a target", "hint: "]);
}
