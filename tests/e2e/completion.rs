//! Completion in real shells, with the scripts that are handed out.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

use tokio::process::Command;

use crate::support::{Client, Fixture, Terminal, eventually};

impl Fixture {
    /// A lab whose targets have been listed, with an alias and profiles.
    async fn to_complete() -> Self {
        let fixture =
            Self::with_targets(&["i-0a1,Name=web-1", "i-0a2,Name=db", "i-0a3,Name=web 3"]).await;
        fixture.run(&["targets"]).await.expect(0, &[]);
        for (path, text) in [
            (
                ".config/ssmfwd/config.toml",
                "[alias]\nbastion = 'tag:Role=bastion'\n",
            ),
            (
                ".aws/config",
                "[default]\n[profile prod]\n[profile preview]\n[sso-session corp]\n",
            ),
            (".aws/credentials", "[ci]\n"),
        ] {
            let path = fixture.directory().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        fixture
    }

    /// A program with this build of ssmfwd in its path, and its scripts in the directory.
    fn with_path(&self, program: &str) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_ssmfwd"));
        let mut path = binary.parent().unwrap().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let mut command = self.isolate(Command::new(program));
        command.envs(self.lab.environment()).env("PATH", path);
        command
    }

    async fn script(&self, shell: &str, file: &str) -> String {
        let exit = self.run(&["completions", shell]).await;
        exit.expect(0, &[]);
        let path = self.directory().join(file);
        std::fs::write(&path, exit.stdout).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// What is offered for a line, and what the word is completed to: in bash only what comes after its word breaks.
const CASES: [(&str, &[&str]); 9] = [
    ("ssmfwd web", &["web-1"]),
    ("ssmfwd i-0a", &["i-0a1", "i-0a2", "i-0a3"]),
    ("ssmfwd shell w", &["web-1"]),
    ("ssmfwd -v --any shell --esc", &["--escape-char"]),
    ("ssmfwd proxy @b", &["@bastion"]),
    ("ssmfwd --profile p", &["preview", "prod"]),
    ("ssmfwd exec --profile=c", &["--profile=ci"]),
    ("ssmfwd targ", &["targets"]),
    ("ssmfwd targets --js", &["--json"]),
];

#[tokio::test]
async fn bash_completes() {
    let fixture = Fixture::to_complete().await;
    let script = fixture.script("bash", "ssmfwd.bash").await;
    // What bash does when the key is pressed: it splits the line, and calls the function.
    let driver = format!(
        "source {script}\n\
         complete_line() {{\n\
           COMP_LINE=$1 COMP_POINT=${{#1}}\n\
           local last=${{1##* }}\n\
           _ssmfwd ssmfwd \"$last\" \"\"\n\
           printf '%s\\n' \"${{COMPREPLY[@]}}\"\n\
         }}\n\
         for line in \"$@\"; do complete_line \"$line\"; echo ---; done\n"
    );
    let mut command = fixture.with_path("bash");
    command.args(["--norc", "-c", &driver, "bash"]);
    command.args(CASES.map(|(line, _)| line));
    let exit = Client::spawn(command).exit().await;
    exit.expect(0, &[]);
    for ((line, expected), found) in CASES.iter().zip(exit.stdout.split("---\n")) {
        let found: Vec<_> = found.lines().collect();
        let after_break = |word: &&str| word.rsplit('=').next().unwrap_or(word).to_owned();
        let expected: Vec<_> = expected.iter().map(after_break).collect();
        assert_eq!(found, expected, "{line}");
    }
}

/// Completes lines with a key, and has the shell print what has become of them; `end` is what it leaves behind the word.
async fn expect_typed(terminal: &mut Terminal, end: &str) {
    for (typed, completed) in [
        ("ssmfwd web", "ssmfwd web-1"),
        ("ssmfwd web", "ssmfwd web-1"),
        ("ssmfwd @b", "ssmfwd @bastion"),
        ("ssmfwd shell --profile=pro", "ssmfwd shell --profile=prod"),
        ("ssmfwd exec i-0a1 --prof", "ssmfwd exec i-0a1 --profile"),
    ] {
        // Ctrl-A and Ctrl-E: the line becomes a word of another command.
        terminal.input(format!("{typed}\t\x01echo '\x05'\r")).await;
        terminal.shows(&format!("{completed}{end}\r\n")).await;
    }
}

#[tokio::test]
async fn bash_completes_when_the_key_is_pressed() {
    let fixture = Fixture::to_complete().await;
    let script = fixture.script("bash", "ssmfwd.bash").await;
    let mut command = fixture.with_path("bash");
    command.args(["--norc", "--noprofile", "-i"]);
    let mut terminal = Terminal::spawn(command);
    terminal
        .input(format!("PS1='> '; source {script}; echo re''ady\r"))
        .await;
    terminal.shows("ready\r\n").await;
    expect_typed(&mut terminal, " ").await;
    terminal.input("exit\r").await;
    terminal.exit().await;
}

#[tokio::test]
async fn fish_completes() {
    let fixture = Fixture::to_complete().await;
    let script = fixture.script("fish", "ssmfwd.fish").await;
    for (line, expected) in CASES {
        let mut command = fixture.with_path("fish");
        command.args(["--no-config", "-c"]);
        command.arg(format!("source {script}; complete -C '{line}'"));
        let exit = Client::spawn(command).exit().await;
        exit.expect(0, &[]);
        let word = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
        let found: Vec<_> = exit.stdout.lines().map(word).collect();
        assert_eq!(found, expected, "{line}");
    }
}

#[tokio::test]
async fn zsh_completes_when_the_key_is_pressed() {
    let fixture = Fixture::to_complete().await;
    // As a file of $fpath, which is read with the first completion.
    fixture.script("zsh", "_ssmfwd").await;
    let mut command = fixture.with_path("zsh");
    command.args(["-f", "-i"]);
    let mut terminal = Terminal::spawn(command);
    terminal
        .input(
            "PS1='> '; bindkey -e; fpath=($PWD $fpath); autoload -U compinit; compinit -D -u; echo re''ady\r",
        )
        .await;
    terminal.shows("ready\r\n").await;
    expect_typed(&mut terminal, "").await;
    terminal.input("exit\r").await;
    terminal.exit().await;
}

#[tokio::test]
async fn completion_asks_nobody() {
    let fixture = Fixture::to_complete().await;
    let script = fixture.script("fish", "ssmfwd.fish").await;
    // Nothing is known of what is there, and whoever asks is seen.
    let service = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    service.set_nonblocking(true).unwrap();
    let url = format!("http://{}", service.local_addr().unwrap());
    let mut command = fixture.with_path("fish");
    command.args(["--no-config", "-c"]);
    command.arg(format!("source {script}; complete -C 'ssmfwd web'"));
    command.env("AWS_ENDPOINT_URL_SSM", &url);
    let exit = Client::spawn(command).exit().await;
    exit.expect(0, &[]);
    assert_eq!(exit.stdout, "");
    assert_eq!(service.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    // As the same environment has a command do that needs the service.
    let mut command = fixture.command(&["targets"]);
    command.env("AWS_ENDPOINT_URL_SSM", &url);
    let _asking = Client::spawn(command);
    eventually("a request", || service.accept().is_ok()).await;
}
