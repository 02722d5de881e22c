//! The command line.

use super::ask::Question;
use super::completions::Shell;
use std::ffi::OsString;
use std::path::PathBuf;

/// What `tidegate help` prints.
pub(super) const HELP: &str = "\
Tidegate: a reverse proxy for home labs on Docker

Usage: tidegate COMMAND [OPTIONS]

Commands:
  serve                 serve what the engines and the route files say
  check [FILE]          check a configuration, the files it includes and its certificates
  routes                ask the running Tidegate what it serves and why, and what it does not
  problems              ask it what a person should mend
  certs                 ask it which certificates it serves, and when they expire
  healthcheck           ask it whether it answers: exit code 0 or 1
  reload                tell it to read its configuration again
  hash                  print the hash of a password, read from standard input, for basic_auth
  demo                  try it without Docker: a fake engine, its containers, the proxy in front
  completions SHELL     print completions for bash, zsh or fish
  version               print the version
  help                  print this

Options:
  --config FILE         the configuration; else TIDEGATE_CONFIG, else config/config.yml,
                        else /etc/tidegate/config.yml, else the defaults
  --http-addr ADDR      serve, demo: listen here instead of entrypoint.http_addr (`:80`, `127.0.0.1:8080`)
  --admin-addr ADDR     routes, problems, certs, healthcheck, reload: ask there instead of at admin.addr
  --json                routes, problems, certs, reload: print JSON

Environment:
  TIDEGATE_CONFIG       as --config
  TIDEGATE_HTTP_ADDR    as --http-addr; GODOXY_HTTP_ADDR is accepted
  TIDEGATE_ADMIN_ADDR   where the admin API listens and is asked, or `off`; stands over admin.addr
  DOCKER_HOST           what $DOCKER_HOST stands for in the configuration
  RUST_LOG              log level and filter (error, warn, info, debug, trace), default `info`
  NOTIFY_SOCKET         told of READY and STOPPING (sd_notify)
  LISTEN_FDS            inherited listeners (socket activation)

Exit codes: 0 done, 1 the system or a running part failed or nobody answered, 64 a wrong command line or
configuration, 130 or 143 a second SIGINT or SIGTERM cut the drain short
";

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Version,
    Serve { file: Option<PathBuf>, http_addr: Option<String> },
    Check { file: Option<PathBuf> },
    Demo { http_addr: Option<String> },
    Ask { question: Question, file: Option<PathBuf>, admin_addr: Option<String>, json: bool },
    Completions { shell: Shell },
    Hash,
}

/// Parses the arguments after the program's name.
///
/// # Errors
/// A sentence that names the argument.
pub(super) fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut args = args;
    let Some(command) = args.next() else { return Ok(Command::Help) };
    let command = text(command)?;
    let mut options = Options::default();
    options.take(args)?;
    if options.help {
        return Ok(Command::Help);
    }
    let ask = |options: &mut Options, question| Command::Ask {
        question,
        file: options.file.take(),
        admin_addr: options.admin_addr.take(),
        json: question != Question::Healthcheck && std::mem::take(&mut options.json),
    };
    let parsed = match command.as_str() {
        "help" | "-h" | "--help" => Command::Help,
        "version" | "-V" | "--version" => Command::Version,
        "serve" => Command::Serve { file: options.file.take(), http_addr: options.http_addr.take() },
        "check" => {
            let file = options.file.take();
            Command::Check { file: file.or_else(|| options.positional.take().map(PathBuf::from)) }
        }
        "demo" => Command::Demo { http_addr: options.http_addr.take() },
        "routes" => ask(&mut options, Question::Routes),
        "problems" => ask(&mut options, Question::Problems),
        "certs" => ask(&mut options, Question::Certs),
        "healthcheck" => ask(&mut options, Question::Healthcheck),
        "reload" => ask(&mut options, Question::Reload),
        "hash" => Command::Hash,
        "completions" => Command::Completions { shell: shell(options.positional.take())? },
        other => return Err(format!("unknown command `{other}`")),
    };
    options.refuse_rest(&command)?;
    Ok(parsed)
}

fn shell(name: Option<OsString>) -> Result<Shell, String> {
    match name.as_ref().map(|name| name.to_string_lossy()).as_deref() {
        Some("bash") => Ok(Shell::Bash),
        Some("zsh") => Ok(Shell::Zsh),
        Some("fish") => Ok(Shell::Fish),
        Some(other) => Err(format!("no completions for `{other}`: bash, zsh or fish")),
        None => Err("completions for which shell? bash, zsh or fish".into()),
    }
}

#[derive(Default)]
struct Options {
    file: Option<PathBuf>,
    http_addr: Option<String>,
    admin_addr: Option<String>,
    json: bool,
    positional: Option<OsString>,
    help: bool,
}

impl Options {
    fn take(&mut self, mut args: impl Iterator<Item = OsString>) -> Result<(), String> {
        while let Some(arg) = args.next() {
            let known = arg.to_str().unwrap_or_default();
            let (name, inline) = match known.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
                _ => (known, None),
            };
            let mut value =
                |name: &str| inline.clone().or_else(|| args.next()).ok_or(format!("{name} needs a value"));
            match name {
                "--config" | "-c" => self.file = Some(value(name)?.into()),
                "--http-addr" => self.http_addr = Some(text(value(name)?)?),
                "--admin-addr" => self.admin_addr = Some(text(value(name)?)?),
                "--json" => self.json = true,
                "--help" | "-h" => self.help = true,
                _ if name.starts_with('-') && name.len() > 1 => {
                    return Err(format!("unknown option `{name}`"));
                }
                _ if self.positional.is_none() => self.positional = Some(arg),
                _ => return Err(format!("unexpected argument `{}`", arg.to_string_lossy())),
            }
        }
        Ok(())
    }

    /// What `command` did not take is no option of it.
    fn refuse_rest(&self, command: &str) -> Result<(), String> {
        if let Some(extra) = &self.positional {
            return Err(format!("unexpected argument `{}`", extra.to_string_lossy()));
        }
        let rest = [
            (self.file.is_some(), "--config"),
            (self.http_addr.is_some(), "--http-addr"),
            (self.admin_addr.is_some(), "--admin-addr"),
            (self.json, "--json"),
        ];
        match rest.iter().find(|(given, _)| *given) {
            Some((_, option)) => Err(format!("`{command}` takes no {option}")),
            None => Ok(()),
        }
    }
}

fn text(arg: OsString) -> Result<String, String> {
    arg.into_string().map_err(|arg| format!("`{}` is not UTF-8", arg.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn commands_and_options() {
        assert_eq!(parsed(""), Ok(Command::Help));
        assert_eq!(parsed("serve"), Ok(Command::Serve { file: None, http_addr: None }));
        let both = Command::Serve { file: Some("a.yml".into()), http_addr: Some(":80".into()) };
        assert_eq!(parsed("serve --config a.yml --http-addr=:80"), Ok(both));
        assert_eq!(parsed("check a.yml"), Ok(Command::Check { file: Some("a.yml".into()) }));
        assert_eq!(parsed("hash"), Ok(Command::Hash));
        assert_eq!(parsed("demo --help"), Ok(Command::Help));
        let asked = Command::Ask {
            question: Question::Routes,
            file: None,
            admin_addr: Some("127.0.0.1:1".into()),
            json: true,
        };
        assert_eq!(parsed("routes --json --admin-addr 127.0.0.1:1"), Ok(asked));
        assert_eq!(parsed("completions zsh"), Ok(Command::Completions { shell: Shell::Zsh }));
    }

    #[test]
    fn wrong_command_lines_name_the_argument() {
        for (line, part) in [
            ("sevre", "sevre"),
            ("serve --config", "--config"),
            ("serve extra", "extra"),
            ("check a.yml b.yml", "b.yml"),
            ("version --http-addr x", "--http-addr"),
            ("serve --nope", "--nope"),
            ("serve --json", "--json"),
            ("healthcheck --json", "--json"),
            ("completions tcsh", "tcsh"),
            ("hash secret", "secret"),
            ("completions", "bash"),
        ] {
            assert!(parsed(line).is_err_and(|error| error.contains(part)), "{line}");
        }
    }
}
