//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// What `tidegate help` prints.
pub(super) const HELP: &str = "\
Tidegate: a reverse proxy for home labs on Docker

Usage: tidegate COMMAND [OPTIONS]

Commands:
  serve                 serve what the engines and the route files say
  check [FILE]          check a configuration and the files it includes
  demo                  try it without Docker: a fake engine, its containers, the proxy in front
  version               print the version
  help                  print this

Options:
  --config FILE         serve, check: the configuration; else TIDEGATE_CONFIG, else config/config.yml,
                        else /etc/tidegate/config.yml, else the defaults
  --http-addr ADDR      serve, demo: listen here instead of entrypoint.http_addr (`:80`, `127.0.0.1:8080`)

Environment:
  TIDEGATE_CONFIG       as --config
  TIDEGATE_HTTP_ADDR    as --http-addr; GODOXY_HTTP_ADDR is accepted
  DOCKER_HOST           what $DOCKER_HOST stands for in the configuration
  RUST_LOG              log level and filter, default `info`

Exit codes: 0 done, 1 the system or a running part failed, 64 a wrong command line or configuration
";

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Version,
    Serve { file: Option<PathBuf>, http_addr: Option<String> },
    Check { file: Option<PathBuf> },
    Demo { http_addr: Option<String> },
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
    let Options { file, http_addr, positional, help } = options;
    if help {
        return Ok(Command::Help);
    }
    let parsed = match command.as_str() {
        "help" | "-h" | "--help" => Command::Help,
        "version" | "-V" | "--version" => Command::Version,
        "serve" => Command::Serve { file: file.clone(), http_addr: http_addr.clone() },
        "check" => Command::Check { file: file.clone().or_else(|| positional.clone().map(PathBuf::from)) },
        "demo" => Command::Demo { http_addr: http_addr.clone() },
        other => return Err(format!("unknown command `{other}`")),
    };
    let takes_file = matches!(parsed, Command::Serve { .. } | Command::Check { .. });
    let takes_addr = matches!(parsed, Command::Serve { .. } | Command::Demo { .. });
    match positional {
        Some(extra) if command != "check" || file.is_some() => {
            Err(format!("unexpected argument `{}`", extra.to_string_lossy()))
        }
        _ if file.is_some() && !takes_file => Err(format!("`{command}` takes no --config")),
        _ if http_addr.is_some() && !takes_addr => Err(format!("`{command}` takes no --http-addr")),
        _ => Ok(parsed),
    }
}

#[derive(Default)]
struct Options {
    file: Option<PathBuf>,
    http_addr: Option<String>,
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
        assert_eq!(parsed("demo --help"), Ok(Command::Help));
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
        ] {
            assert!(parsed(line).is_err_and(|error| error.contains(part)), "{line}");
        }
    }
}
