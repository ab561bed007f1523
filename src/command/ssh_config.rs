//! `ssmfwd ssh-config`: what makes `ssh` go through Session Manager.

use std::path::Path;

use crate::aws::Service;
use crate::cli::{KeyArgs, NetworkArgs, SshConfigArgs};
use crate::failure::{Exit, Failure};
use crate::output::{Event, Printer};
use crate::ssh;
use crate::ssh::config_block::{Block, Installed};
use crate::ssh::key_file;

/// Prints the stanza, or puts it into the configuration file.
///
/// # Errors
///
/// When the file cannot be changed, or a path cannot be written in it.
pub fn run(args: SshConfigArgs, printer: &Printer) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| {
        let message = format!("the path of this program is not known: {error}");
        Failure::new(Exit::Failure, message)
    })?;
    let name = match &args.label {
        Some(label) => format!("ssmfwd {label}"),
        None => "ssmfwd".to_owned(),
    };
    let block = Block::new(&name, stanzas(&args, &program)?);
    if !args.install {
        return printer.product(block.text().as_bytes());
    }
    let path = match args.file {
        Some(path) => path,
        None => ssh::directory()?.join("config"),
    };
    let (is_changed, backup) = match block.install(&path)? {
        Installed::Already => (false, None),
        Installed::Changed { backup } => (true, backup),
    };
    printer.event(&Event::SshConfigInstalled {
        path: path.display().to_string(),
        is_changed,
        backup: backup.map(|path| path.display().to_string()),
    });
    Ok(())
}

/// The sections for all hosts. Only EC2 instances take a pushed key.
fn stanzas(args: &SshConfigArgs, program: &Path) -> Result<String, Failure> {
    let command = command(args, program)?;
    let (instances, nodes, others) = match &args.label {
        Some(label) => (format!("i-*.{label}"), format!("mi-*.{label}"), ""),
        // Hosts of other stanzas, and of the network, have a dot in their names.
        None => ("i-*".to_owned(), "mi-*".to_owned(), " !*.*"),
    };
    let user = args.user.iter();
    let user: String = user.map(|user| format!("    User {user}\n")).collect();
    let Some(key) = push_key(&args.key)? else {
        return Ok(format!(
            "Host {instances} {nodes}{others}\n    ProxyCommand {command} %h %p\n{user}"
        ));
    };
    let PushKey { option, identity } = key;
    Ok(format!(
        "Host {instances}{others}\n    ProxyCommand {command} {option} --user %r %h %p\n    \
         IdentityFile {identity}\n    IdentitiesOnly yes\n{user}\
         Host {nodes}{others}\n    ProxyCommand {command} %h %p\n{user}"
    ))
}

/// The command line up to the target, for a shell.
fn command(args: &SshConfigArgs, program: &Path) -> Result<String, Failure> {
    let mut command = format!("{} proxy", in_command(&text_of(program)?)?);
    let aws = &args.aws;
    if let Some(url) = &aws.endpoint_url {
        Service::Ssm.check_endpoint(url)?;
    }
    for (option, value) in [
        ("--profile", &aws.profile),
        ("--region", &aws.region),
        ("--endpoint-url", &aws.endpoint_url),
    ] {
        if let Some(value) = value {
            command.push_str(&format!(" {option} {}", in_command(value)?));
        }
    }
    command.push_str(&network_options(&aws.network)?);
    Ok(command)
}

fn network_options(network: &NetworkArgs) -> Result<String, Failure> {
    let mut options = String::new();
    for (service, url) in &network.endpoints {
        service.check_endpoint(url)?;
        let endpoint = format!("{}={url}", service.name());
        options.push_str(&format!(" --endpoint {}", in_command(&endpoint)?));
    }
    if let Some(proxy) = &network.proxy {
        if proxy.has_user() {
            let message = "a proxy's user and password do not belong in the configuration of ssh";
            return Err(Failure::new(Exit::Usage, message)
                .with_hint("set HTTPS_PROXY where ssh is run, and leave --proxy out"));
        }
        options.push_str(&format!(" --proxy {}", in_command(proxy.expose())?));
    }
    if let Some(file) = &network.ca_bundle {
        let file = std::path::absolute(file).map_err(|error| {
            let message = format!("{} cannot be found: {error}", file.display());
            Failure::new(Exit::Usage, message)
        })?;
        options.push_str(&format!(" --ca-bundle {}", in_command(&text_of(&file)?)?));
    }
    Ok(options)
}

/// How a stanza has a key pushed.
struct PushKey {
    option: String,
    /// What `ssh` reads the private key from.
    identity: String,
}

fn push_key(args: &KeyArgs) -> Result<Option<PushKey>, Failure> {
    let Some(file) = &args.push_key else {
        return Ok(None);
    };
    let Some(file) = file else {
        return Ok(Some(PushKey {
            option: "--push-key".to_owned(),
            identity: in_file(&text_of(&key_file::default_path()?)?)?,
        }));
    };
    // A key that cannot be pushed is better told of here than at every connection.
    key_file::read_public(file)?;
    let file = std::path::absolute(file).map_err(|error| {
        let message = format!("{} cannot be found: {error}", file.display());
        Failure::new(Exit::Usage, message)
    })?;
    // The private key may be in an agent or a token, which `ssh` is told of by the public one.
    let private = file.with_extension("");
    let is_public = file.extension().is_some_and(|extension| extension == "pub");
    let identity = match is_public && private.exists() {
        true => &private,
        false => &file,
    };
    Ok(Some(PushKey {
        option: format!("--push-key={}", in_command(&text_of(&file)?)?),
        identity: in_file(&text_of(identity)?)?,
    }))
}

fn text_of(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| unwritable(&path.display().to_string()))
}

/// Writes a word of a ProxyCommand, which `ssh` expands and a shell then reads.
fn in_command(word: &str) -> Result<String, Failure> {
    if word.contains(char::is_control) {
        return Err(unwritable(word));
    }
    let is_plain = |c: char| c.is_alphanumeric() || "@%_-+=:,./".contains(c);
    let quoted = match word.chars().all(is_plain) {
        true => word.to_owned(),
        false if cfg!(windows) => format!("\"{word}\""),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    Ok(quoted.replace('%', "%%"))
}

/// Writes a path as an argument in the configuration file, where `ssh` expands it.
fn in_file(path: &str) -> Result<String, Failure> {
    if path.contains(|c: char| c.is_control() || c == '"') {
        return Err(unwritable(path));
    }
    let is_plain = |c: char| c.is_alphanumeric() || "@%_-+=:,./~".contains(c);
    let quoted = match path.chars().all(is_plain) {
        true => path.to_owned(),
        false => format!("\"{path}\""),
    };
    Ok(quoted.replace('%', "%%"))
}

fn unwritable(word: &str) -> Failure {
    let message = format!("{word:?} cannot be written in a configuration of ssh");
    Failure::new(Exit::Usage, message).with_hint("choose a name without special characters")
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Job};

    fn stanza(arguments: &[&str]) -> String {
        let line = ["ssmfwd", "ssh-config"].iter().chain(arguments);
        let Ok(Job::SshConfig(args)) = Cli::parse_from(line).into_job() else {
            panic!("another job");
        };
        stanzas(&args, Path::new("/opt/my tools/ssmfwd")).unwrap()
    }

    #[test]
    fn a_stanza_passes_its_options_on() {
        assert_eq!(
            stanza(&["--profile", "it's", "--region", "eu-west-1", "--user", "me"]),
            "Host i-* mi-* !*.*\n    \
             ProxyCommand '/opt/my tools/ssmfwd' proxy --profile 'it'\\''s' --region eu-west-1 %h %p\n    \
             User me\n"
        );
    }

    #[test]
    fn a_label_makes_hosts_of_its_own() {
        let stanza = stanza(&["--label", "prod"]);
        assert!(stanza.starts_with("Host i-*.prod mi-*.prod\n"), "{stanza}");
    }

    #[test]
    fn keys_are_pushed_to_instances_only() {
        let directory = tempfile::tempdir().unwrap();
        let private = directory.path().join("a key");
        let public = private.with_extension("pub");
        std::fs::write(&public, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5\n").unwrap();
        let option = format!("--push-key={}", public.display());
        let text = stanza(&[&option]);
        let command = "ProxyCommand '/opt/my tools/ssmfwd' proxy";
        assert!(
            text.contains(&format!(
                "Host i-* !*.*\n    {command} --push-key='{}' --user %r %h %p\n    \
                 IdentityFile \"{}\"\n    IdentitiesOnly yes\nHost mi-* !*.*\n    {command} %h %p\n",
                public.display(),
                public.display(),
            )),
            "{text}"
        );
        std::fs::write(&private, "").unwrap();
        let identity = format!("IdentityFile \"{}\"\n", private.display());
        assert!(stanza(&[&option]).contains(&identity));
    }

    #[test]
    fn what_ssh_expands_is_doubled() {
        assert_eq!(in_command("/opt/50%/x").unwrap(), "/opt/50%%/x");
        assert_eq!(in_file("/opt/50% x/y").unwrap(), "\"/opt/50%% x/y\"");
        assert!(in_command("/opt/a\nb").is_err());
    }

    #[test]
    fn what_ssh_would_take_for_a_quote_is_quoted() {
        assert_eq!(
            in_file("/home/o'brien/key").unwrap(),
            "\"/home/o'brien/key\""
        );
        assert_eq!(in_file("/home/me/key#1").unwrap(), "\"/home/me/key#1\"");
        assert!(in_file("/home/\"me\"/key").is_err());
    }
}
