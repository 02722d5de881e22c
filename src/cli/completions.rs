//! Completions for shells, printed by `tidegate completions SHELL`.

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// A command, what it does, and its options.
struct Word {
    name: &'static str,
    does: &'static str,
    options: &'static [&'static str],
}

const ASK: &[&str] = &["--config", "--admin-addr", "--json"];

const COMMANDS: &[Word] = &[
    Word { name: "serve", does: "serve the containers and routes", options: &["--config", "--http-addr"] },
    Word { name: "check", does: "check a configuration", options: &["--config"] },
    Word { name: "routes", does: "what is served and why", options: ASK },
    Word { name: "problems", does: "what a person should mend", options: ASK },
    Word { name: "certs", does: "which certificates it serves", options: ASK },
    Word { name: "healthcheck", does: "whether it answers", options: &["--config", "--admin-addr"] },
    Word { name: "reload", does: "read the configuration again", options: ASK },
    Word { name: "hash", does: "hash a password for basic_auth", options: &[] },
    Word { name: "demo", does: "try it without Docker", options: &["--http-addr"] },
    Word { name: "completions", does: "print completions", options: &[] },
    Word { name: "version", does: "print the version", options: &[] },
    Word { name: "help", does: "print the help", options: &[] },
];

/// What the shell reads.
pub(super) fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(),
        Shell::Fish => fish(),
    }
}

fn names() -> String {
    let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    names.join(" ")
}

fn bash() -> String {
    let cases: String = COMMANDS
        .iter()
        .filter(|command| !command.options.is_empty())
        .map(|command| format!("        {}) words='{}' ;;\n", command.name, command.options.join(" ")))
        .collect();
    format!(
        "_tidegate() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words=
    if [ \"$COMP_CWORD\" -eq 1 ]; then
        COMPREPLY=($(compgen -W '{}' -- \"$current\"))
        return
    fi
    case $previous in
        --config) COMPREPLY=($(compgen -f -- \"$current\")); return ;;
        --http-addr|--admin-addr) COMPREPLY=(); return ;;
    esac
    case ${{COMP_WORDS[1]}} in
{cases}        completions) words='bash zsh fish' ;;
    esac
    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))
    if [ \"${{COMP_WORDS[1]}}\" = check ]; then
        COMPREPLY+=($(compgen -f -- \"$current\"))
    fi
}}
complete -o filenames -F _tidegate tidegate
",
        names()
    )
}

fn zsh() -> String {
    let commands: String =
        COMMANDS.iter().map(|command| format!("        '{}:{}'\n", command.name, command.does)).collect();
    let spec = |option: &str| match option {
        "--config" => "'--config[the configuration]:file:_files'".to_owned(),
        "--json" => "'--json[print JSON]'".to_owned(),
        other => format!("'{other}[an address]:address:'"),
    };
    let cases: String = COMMANDS
        .iter()
        .filter(|command| !command.options.is_empty())
        .map(|command| {
            let mut specs: Vec<String> = command.options.iter().map(|option| spec(option)).collect();
            if command.name == "check" {
                specs.push("'*:file:_files'".into());
            }
            format!("        {}) _arguments {} ;;\n", command.name, specs.join(" "))
        })
        .collect();
    format!(
        "#compdef tidegate
_tidegate() {{
    local -a commands
    commands=(
{commands}    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
{cases}        completions) _values shell bash zsh fish ;;
    esac
}}
if [ \"$funcstack[1]\" = _tidegate ]; then
    _tidegate \"$@\"
else
    compdef _tidegate tidegate
fi
"
    )
}

fn fish() -> String {
    let mut out = String::from("complete -c tidegate -f\n");
    for Word { name, does, options } in COMMANDS {
        out += &format!("complete -c tidegate -n __fish_use_subcommand -a {name} -d '{does}'\n");
        let within = format!("complete -c tidegate -n '__fish_seen_subcommand_from {name}'");
        for option in *options {
            let takes = match *option {
                "--config" => " -r -F",
                "--json" => "",
                _ => " -x",
            };
            out += &format!("{within} -l {}{takes}\n", option.trim_start_matches("--"));
        }
    }
    out += "complete -c tidegate -n '__fish_seen_subcommand_from check' -F\n";
    out += "complete -c tidegate -n '__fish_seen_subcommand_from completions' -a 'bash zsh fish'\n";
    out
}
