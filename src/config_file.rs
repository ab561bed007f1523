//! The configuration file of ssmfwd: names of one's own for targets.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Spanned, Value};

use crate::aws::Selector;
use crate::failure::{Exit, Failure};

/// The variable that names the file, unless the command line does.
const VARIABLE: &str = "SSMFWD_CONFIG";

/// What the file says. Without a file, nothing.
#[derive(Debug, Default)]
pub struct ConfigFile {
    path: PathBuf,
    /// What each stands for, or why it can stand for nothing, which matters only to whoever uses it.
    aliases: BTreeMap<String, Result<Selector, Failure>>,
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    alias: BTreeMap<String, Spanned<Value>>,
}

impl ConfigFile {
    /// Reads the file `given` on the command line or else in the environment, which has to exist, or the one of the user,
    /// which has not.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] if it cannot be read or understood, with the line.
    pub fn load(given: Option<&Path>) -> Result<Self, Failure> {
        let variable = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        let variable = variable.map(PathBuf::from);
        let given = given.map(Path::to_owned).or(variable);
        let (path, is_needed) = match (given, user_directory("XDG_CONFIG_HOME", ".config")) {
            (Some(path), _) => (path, true),
            (None, Some(directory)) => (directory.join("config.toml"), false),
            (None, None) => return Ok(Self::default()),
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_needed => Ok(Self {
                path,
                ..Self::default()
            }),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                Err(Failure::new(Exit::Usage, message))
            }
        }
    }

    fn parse(path: PathBuf, text: &str) -> Result<Self, Failure> {
        let wrong = |at: usize, why: &str| {
            let line = text.get(..at).unwrap_or(text).split('\n').count();
            let message = format!("{}, line {line}: {why}", path.display());
            Failure::new(Exit::Usage, message)
        };
        let document: Document = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            wrong(at, error.message())
        })?;
        let aliases = document.alias.into_iter().map(|(name, value)| {
            let at = value.span().start;
            let selector = meaning(value.as_ref()).map_err(|failure| Failure {
                hint: failure.hint,
                ..wrong(at, &format!("alias `{name}`: {}", failure.message))
            });
            (name, selector)
        });
        let aliases = aliases.collect();
        Ok(Self { path, aliases })
    }

    /// What an alias stands for.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] if there is none of this name, or it is wrong.
    pub fn alias(&self, name: &str) -> Result<Selector, Failure> {
        if let Some(selector) = self.aliases.get(name) {
            return selector.clone();
        }
        let path = self.path.display();
        let failure = Failure::new(Exit::Usage, format!("there is no alias `{name}` in {path}"));
        Err(match self.names().collect::<Vec<_>>()[..] {
            [] => failure.with_hint(format!(
                "add it there: below the line [alias], a line such as {name} = \"tag:Role=bastion\""
            )),
            ref names => failure.with_hint(format!("it has @{}", names.join(", @"))),
        })
    }

    /// Whether there is an alias of this name.
    pub fn has(&self, name: &str) -> bool {
        self.aliases.contains_key(name)
    }

    /// The names of the aliases, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.aliases.keys().map(String::as_str)
    }
}

/// What the value of an alias means.
fn meaning(value: &Value) -> Result<Selector, Failure> {
    let wrong = |why: &str| Failure::new(Exit::Usage, why);
    match value.as_str() {
        None => Err(wrong("it is no text").with_hint("write the target in quotation marks")),
        Some(text) if text.starts_with('@') => {
            Err(wrong("it stands for another alias").with_hint("write what that one stands for"))
        }
        Some(text) => text.parse(),
    }
}

/// The directory of this program below the one that `variable` names or, if it does not name an absolute path, below
/// `default` in the user's home (XDG Base Directory Specification).
pub(crate) fn user_directory(variable: &str, default: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let base = match named.filter(|path| path.is_absolute()) {
        Some(path) => path,
        None => {
            let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty())?;
            home.join(default)
        }
    };
    Some(base.join("ssmfwd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, Failure> {
        ConfigFile::parse("c.toml".into(), text)
    }

    #[test]
    fn an_alias_stands_for_a_selector() {
        let file = parse("[alias]\ndb = \"tag:Role=db\"\n\"my web\" = 'i-0abc'\n").unwrap();
        assert_eq!(file.alias("db").unwrap().to_string(), "tag:Role=db");
        assert_eq!(file.alias("my web"), Ok(Selector::Id("i-0abc".into())));
        assert_eq!(file.names().collect::<Vec<_>>(), ["db", "my web"]);
    }

    #[test]
    fn an_unknown_alias_names_those_there_are() {
        let file = parse("[alias]\na = 'x'\nb = 'y'\n").unwrap();
        let failure = file.alias("c").unwrap_err();
        assert_eq!(failure.message, "there is no alias `c` in c.toml");
        assert_eq!(failure.hint.as_deref(), Some("it has @a, @b"));
        let none = parse("").unwrap().alias("c").unwrap_err();
        assert!(none.hint.unwrap().contains("[alias]"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, why) in [
            ("[alias]\ndb = \n", 2, "c.toml, line 2: "),
            ("[alias]\na = 'x'\na = 'y'\n", 3, "duplicate key"),
            ("[alias]\n[tunnels]\n", 2, "unknown field `tunnels`"),
        ] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            let place = format!("c.toml, line {line}: ");
            assert!(failure.message.starts_with(&place), "{failure}");
            assert!(failure.message.contains(why), "{failure}");
        }
    }
    #[test]
    fn a_wrong_alias_matters_only_to_whoever_uses_it() {
        let file = parse("[alias]\na = 'x'\nb = 'tag:x'\n\nc = '@a'\nd = 5\n").unwrap();
        assert_eq!(file.alias("a"), Ok(Selector::Name("x".into())));
        for (name, message) in [
            ("b", "c.toml, line 3: alias `b`: `tag:x` is not a tag"),
            (
                "c",
                "c.toml, line 5: alias `c`: it stands for another alias",
            ),
            ("d", "c.toml, line 6: alias `d`: it is no text"),
        ] {
            let failure = file.alias(name).unwrap_err();
            assert_eq!(
                (failure.message.as_str(), failure.exit),
                (message, Exit::Usage)
            );
            assert!(failure.hint.is_some(), "{name}");
        }
    }
}
