//! A case as a file:
//!
//! ```text
//! # What is tried, and the RFC section or rule that decides.
//! @meant POST /path body       a request that must arrive, with its body; one line each, in order
//! @cut POST /path              one whose body never arrives whole
//! @tunnel                      bytes that are no request follow after a 101
//! @trusted                     the client is a trusted proxy
//! client:
//! bytes; lines that begin with `@` act: @pause, @shut (no more will come), @wait-client TEXT (until the client
//! has received it), @wait-backend TEXT
//! backend:
//! bytes of the answer to the first request (200 with a small body without this); here too @pause, @shut,
//! @wait-client TEXT, @wait-backend TEXT, @close, @reset, @early (answer before the body is read; first line)
//! backend:
//! the answer to the second, and so on
//! -----
//! what was seen
//! ```

use super::text::unescape;

/// What a side does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Send(Vec<u8>),
    Pause,
    Shut,
    Close,
    Reset,
    WaitClient(Vec<u8>),
    WaitBackend(Vec<u8>),
}

/// One request as it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meant {
    pub method: String,
    pub target: String,
    pub body: Vec<u8>,
}

/// An answer of the backend.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// It answers before it has read the body.
    pub early: bool,
    pub acts: Vec<Act>,
}

#[derive(Debug)]
pub struct Case {
    pub meant: Vec<Meant>,
    /// Method and target of one whose body never ends.
    pub cut: Option<Meant>,
    pub tunnel: bool,
    pub trusted: bool,
    pub client: Vec<Act>,
    pub backend: Vec<Script>,
}

impl Case {
    /// Reads the part above the line.
    ///
    /// # Errors
    /// Whatever isn't understood: nothing is passed over.
    pub fn parse(text: &str) -> Result<Case, String> {
        let mut case =
            Case { meant: vec![], cut: None, tunnel: false, trusted: false, client: vec![], backend: vec![] };
        let mut lines = text.lines().peekable();
        let says = lines.peek().is_some_and(|first| first.starts_with("# ") && first.len() > 10);
        if !says {
            return Err("the first line does not say what is tried".into());
        }
        let mut section = "";
        for line in lines {
            let done = match (line, section) {
                ("client:", "") => {
                    section = "client";
                    Ok(())
                }
                ("backend:", "client" | "backend") => {
                    section = "backend";
                    case.backend.push(Script::default());
                    Ok(())
                }
                (_, "") => case.head(line),
                (_, "client") => act(line).map(|act| push(&mut case.client, act)),
                (_, _) => case.answer(line),
            };
            done.map_err(|error| format!("{error} in `{line}`"))?;
        }
        match case.client.is_empty() {
            true => Err("the client does nothing".into()),
            false => Ok(case),
        }
    }

    /// All bytes that the client sends.
    pub fn client_bytes(&self) -> Vec<u8> {
        let sent = self.client.iter().filter_map(|act| match act {
            Act::Send(bytes) => Some(bytes.as_slice()),
            _ => None,
        });
        sent.flatten().copied().collect()
    }

    fn head(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "#" => {}
            "@trusted" if rest.is_empty() => self.trusted = true,
            "@tunnel" if rest.is_empty() => self.tunnel = true,
            "@meant" => self.meant.push(meant(rest)?),
            "@cut" => self.cut = Some(meant(rest)?),
            _ => return Err("not understood".into()),
        }
        Ok(())
    }

    fn answer(&mut self, line: &str) -> Result<(), String> {
        let script = self.backend.last_mut().ok_or("outside a section")?;
        if line == "@early" && script.acts.is_empty() {
            script.early = true;
            return Ok(());
        }
        push(&mut script.acts, act(line)?);
        Ok(())
    }
}

/// `METHOD TARGET BODY`.
fn meant(text: &str) -> Result<Meant, String> {
    let mut parts = text.splitn(3, ' ');
    let (Some(method), Some(target)) = (parts.next(), parts.next()) else {
        return Err("METHOD TARGET BODY is wanted".into());
    };
    let body = unescape(parts.next().unwrap_or(""))?;
    let target = String::from_utf8(unescape(target)?).map_err(|error| error.to_string())?;
    Ok(Meant { method: method.into(), target, body })
}

fn act(line: &str) -> Result<Act, String> {
    let Some(directive) = line.strip_prefix('@') else { return unescape(line).map(Act::Send) };
    let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
    Ok(match (word, rest) {
        ("pause", "") => Act::Pause,
        ("shut", "") => Act::Shut,
        ("close", "") => Act::Close,
        ("reset", "") => Act::Reset,
        ("wait-client", text) if !text.is_empty() => Act::WaitClient(unescape(text)?),
        ("wait-backend", text) if !text.is_empty() => Act::WaitBackend(unescape(text)?),
        _ => return Err("not understood".into()),
    })
}

/// Bytes that follow each other are sent at once.
fn push(acts: &mut Vec<Act>, act: Act) {
    match (acts.last_mut(), act) {
        (Some(Act::Send(bytes)), Act::Send(more)) => bytes.extend(more),
        (_, act) => acts.push(act),
    }
}
