//! Names and ids of targets that were seen in the last minutes, for completion in shells and nothing else.
//!
//! Nothing is ever connected to because of what stands here, so that losing it, or finding it out of date, does no harm.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use clap::CommandFactory;
use serde::{Deserialize, Serialize};

use crate::aws::{Aws, Node, Selector, Target};
use crate::cli::Cli;
use crate::config_file::user_directory;
use crate::ssh::private_file::{self, Draft};

/// How long a target is remembered.
const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// What the names of the files begin and end with.
const FILE_PREFIX: &str = "targets-";
const FILE_SUFFIX: &str = ".json";

/// The most targets that are remembered: what a person can make use of.
const MAX_TARGETS: usize = 1000;

/// What is known of one account, as far as the command line and the environment tell accounts apart.
#[derive(Debug)]
pub struct KnownTargets {
    /// `None` if nothing is to be remembered.
    path: Option<PathBuf>,
}

/// A target one may want to type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// What it is called, in TARGET's grammar; the id itself if it has no name.
    pub name: String,
    /// What StartSession calls it.
    pub id: String,
    /// When it was seen, in seconds since 1970.
    seen: u64,
}

/// What on a command line selects the account and the service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// The value of `--profile`.
    pub profile: Option<String>,
    /// The value of `--region`.
    pub region: Option<String>,
    /// The value of `--endpoint ssm=URL` or else of `--endpoint-url`.
    pub endpoint_url: Option<String>,
}

/// Removes the files of other accounts in which nothing is younger than the lifetime.
fn remove_outdated(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent() else {
        return Ok(());
    };
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(FILE_PREFIX) || !name.ends_with(FILE_SUFFIX) {
            continue;
        }
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > LIFETIME {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What has to be typed to mean a node of this name: the name, unless that reads as something else.
fn typed(name: &str, commands: &[String]) -> String {
    let is_name = matches!(name.parse(), Ok(Selector::Name(_)));
    let is_taken = name.starts_with(['-', '@']) || commands.iter().any(|command| command == name);
    match is_name && !is_taken {
        true => name.to_owned(),
        false => format!("tag:Name={name}"),
    }
}

/// The words that are subcommands where a target may stand.
fn commands() -> Vec<String> {
    let command = Cli::command();
    let names = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned());
    names.chain(["help".to_owned()]).collect()
}

impl KnownTargets {
    /// What is known of the account in use. Of an embedded service, nothing is kept.
    pub fn of(aws: &Aws) -> Self {
        match aws.account() {
            Some(account) => Self::of_account(&account),
            None => Self { path: None },
        }
    }

    /// What is known of the account that a command line selects in this environment.
    pub fn of_account(account: &Account) -> Self {
        let path = user_directory("XDG_CACHE_HOME", ".cache").map(|directory| {
            let name = format!("{FILE_PREFIX}{}{FILE_SUFFIX}", account.fingerprint());
            directory.join(name)
        });
        Self { path }
    }

    /// What to type for each of `nodes`, and their ids.
    pub fn names(nodes: &[Node]) -> impl Iterator<Item = (String, &str)> {
        let commands = commands();
        nodes.iter().map(move |node| {
            let id = node.id.as_str();
            // Names of containers are none in the grammar.
            let name = node.name.as_deref().filter(|_| !id.starts_with("ecs:"));
            let typed = name.map(|name| typed(name, &commands));
            (typed.unwrap_or_else(|| id.to_owned()), id)
        })
    }

    /// What was seen in the last minutes.
    pub fn load(&self) -> Vec<Known> {
        let oldest = now().saturating_sub(LIFETIME.as_secs());
        let text = self.path.as_ref().and_then(|path| fs::read(path).ok());
        let known: Option<Vec<Known>> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let mut known = known.unwrap_or_default();
        known.retain(|known| known.seen >= oldest);
        known
    }

    /// Remembers what the user has called a target, and the id that was found.
    pub fn add_found(&self, target: &Target, id: &str) {
        let name = match target.selector() {
            // An alias is in the configuration file, where completion finds it.
            _ if target.name().starts_with('@') => id.to_owned(),
            Selector::Name(name) => typed(name, &commands()),
            _ => target.name().to_owned(),
        };
        self.add([(name, id)]);
    }

    /// Remembers targets beside those that are known already.
    pub fn add<'a, N: Into<String>>(&self, targets: impl IntoIterator<Item = (N, &'a str)>) {
        if self.path.is_some() {
            self.store(targets, self.load());
        }
    }

    /// Remembers targets instead of those that were known.
    pub fn replace<'a, N: Into<String>>(&self, targets: impl IntoIterator<Item = (N, &'a str)>) {
        self.store(targets, Vec::new());
    }

    fn store<'a, N: Into<String>>(
        &self,
        targets: impl IntoIterator<Item = (N, &'a str)>,
        mut others: Vec<Known>,
    ) {
        let Some(path) = &self.path else {
            return;
        };
        let seen = now();
        let mut known: Vec<_> = targets
            .into_iter()
            .map(|(name, id)| Known {
                name: name.into(),
                id: id.to_owned(),
                seen,
            })
            .collect();
        others.retain(|other| {
            let is_same = |known: &Known| known.name == other.name && known.id == other.id;
            !known.iter().any(is_same)
        });
        known.append(&mut others);
        known.truncate(MAX_TARGETS);
        let write = || -> io::Result<()> {
            if let Some(directory) = path.parent() {
                private_file::create_directory(directory)?;
            }
            Draft::write_unsynced(path, &serde_json::to_vec(&known)?)?.replace(path)?;
            remove_outdated(path)
        };
        if let Err(error) = write() {
            tracing::debug!(%error, "targets are not remembered for completion");
        }
    }
}

impl Account {
    /// Tells accounts apart without saying which they are: the file's name is there for everyone to see.
    fn fingerprint(&self) -> String {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let profile = self.profile.clone().or_else(|| variable("AWS_PROFILE"));
        let keys = match &self.profile {
            Some(_) => None,
            None => variable("AWS_ACCESS_KEY_ID"),
        };
        let region = [
            self.region.clone(),
            variable("AWS_REGION"),
            variable("AWS_DEFAULT_REGION"),
        ];
        let endpoint = [
            self.endpoint_url.clone(),
            variable("AWS_ENDPOINT_URL_SSM"),
            variable("AWS_ENDPOINT_URL"),
        ];
        let parts = [
            profile,
            keys,
            region.into_iter().flatten().next(),
            endpoint.into_iter().flatten().next(),
            variable("AWS_CONFIG_FILE"),
            variable("AWS_SHARED_CREDENTIALS_FILE"),
        ];
        let text = parts.map(Option::unwrap_or_default).join("\n");
        let digest = digest(&SHA256, text.as_bytes());
        let bytes = digest.as_ref().iter().take(8);
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known_in(directory: &tempfile::TempDir) -> KnownTargets {
        KnownTargets {
            path: Some(directory.path().join("ssmfwd/targets-1.json")),
        }
    }

    fn names(known: &KnownTargets) -> Vec<(String, String)> {
        let known = known.load().into_iter();
        known.map(|known| (known.name, known.id)).collect()
    }

    fn pair(name: &str, id: &str) -> (String, String) {
        (name.into(), id.into())
    }

    #[test]
    fn what_was_seen_last_comes_first_and_once() {
        let directory = tempfile::TempDir::new().unwrap();
        let known = known_in(&directory);
        assert_eq!(names(&known), []);
        known.add([("web", "i-1"), ("db", "i-2")]);
        known.add([("web", "i-3"), ("db", "i-2")]);
        assert_eq!(
            names(&known),
            [pair("web", "i-3"), pair("db", "i-2"), pair("web", "i-1")]
        );
        known.replace([("cache", "i-4")]);
        assert_eq!(names(&known), [pair("cache", "i-4")]);
    }

    #[test]
    fn old_and_broken_entries_are_none() {
        let directory = tempfile::TempDir::new().unwrap();
        let known = known_in(&directory);
        known.replace([("web", "i-1")]);
        let path = known.path.clone().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let seen = known.load()[0].seen;
        let old = seen - LIFETIME.as_secs() - 2;
        fs::write(&path, text.replace(&seen.to_string(), &old.to_string())).unwrap();
        assert_eq!(names(&known), []);
        fs::write(&path, "not JSON").unwrap();
        assert_eq!(names(&known), []);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::TempDir::new().unwrap();
        let known = known_in(&directory);
        known.replace([("web", "i-1")]);
        let path = known.path.clone().unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(path.clone()), 0o600);
        assert_eq!(mode(path.parent().unwrap().to_owned()), 0o700);
        let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "a draft was left behind");
    }

    #[test]
    fn files_of_other_accounts_are_removed_when_they_are_old() {
        let directory = tempfile::TempDir::new().unwrap();
        let known = known_in(&directory);
        known.replace([("web", "i-1")]);
        let own = known.path.clone().unwrap();
        let old = SystemTime::now() - LIFETIME - Duration::from_secs(2);
        for (name, is_old) in [
            ("targets-2.json", true),
            ("targets-3.json", false),
            ("other.json", true),
        ] {
            let file = fs::File::create(own.with_file_name(name)).unwrap();
            if is_old {
                file.set_modified(old).unwrap();
            }
        }
        known.add([("web", "i-1")]);
        let files = fs::read_dir(own.parent().unwrap()).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["other.json", "targets-1.json", "targets-3.json"]);
    }

    #[test]
    fn what_is_remembered_means_the_node_when_it_is_typed() {
        for (name, remembered) in [
            ("web", "web"),
            ("web 3", "web 3"),
            ("-rf", "tag:Name=-rf"),
            ("@db", "tag:Name=@db"),
            ("asg:x", "tag:Name=asg:x"),
            ("ecs:x", "tag:Name=ecs:x"),
            ("10.0.0.1", "tag:Name=10.0.0.1"),
            ("i-0a", "tag:Name=i-0a"),
            ("proxy", "tag:Name=proxy"),
            ("help", "tag:Name=help"),
        ] {
            let node = Node {
                id: "i-1".into(),
                name: Some(name.into()),
                ..Node::default()
            };
            let names: Vec<_> = KnownTargets::names(std::slice::from_ref(&node)).collect();
            assert_eq!(names, [(remembered.to_owned(), "i-1")]);
        }
    }

    #[test]
    fn what_was_typed_is_remembered_unless_it_is_an_alias() {
        let directory = tempfile::TempDir::new().unwrap();
        let known = known_in(&directory);
        let role: Selector = "tag:Role=db".parse().unwrap();
        known.add_found(&Target::new("@db", role.clone(), false), "i-1");
        known.add_found(&Target::new("tag:Role=db", role, false), "i-2");
        let web = Selector::Name("web".into());
        known.add_found(&Target::new("web", web, false), "i-3");
        assert_eq!(
            names(&known),
            [
                pair("web", "i-3"),
                pair("tag:Role=db", "i-2"),
                pair("i-1", "i-1")
            ]
        );
    }

    #[test]
    fn accounts_are_told_apart() {
        let account = |profile: &str, region: &str| {
            let account = Account {
                profile: Some(profile.into()),
                region: Some(region.into()),
                endpoint_url: None,
            };
            account.fingerprint()
        };
        assert_eq!(account("a", "x"), account("a", "x"));
        assert_ne!(account("a", "x"), account("b", "x"));
        assert_ne!(account("a", "x"), account("a", "y"));
    }
}
