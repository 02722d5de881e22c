//! 128 readers of requests, each lenient in its own way, as servers behind a proxy are. What is the same to all
//! of them can't be read in two ways.

/// A request as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub body: Vec<u8>,
    /// Bytes of the head, and of the whole.
    pub head_len: usize,
    pub len: usize,
}

/// How a reader deals with what the RFCs forbid. The default is strict about lines, names and codings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader {
    /// A lone LF ends a line, within chunks too; empty lines before a request are passed over.
    bare_lf: bool,
    /// A line that begins with white space belongs to the one before; else it is a field of its own.
    folds: bool,
    /// `Name :` is `Name`.
    trims_names: bool,
    /// `_` in a name is `-`, as in CGI's variables.
    underscores: bool,
    /// Whatever contains `chunked` in a Transfer-Encoding; else only `chunked` itself.
    any_chunked: bool,
    /// Content-Length wins over Transfer-Encoding.
    length_wins: bool,
    /// The last of two lengths counts, and it may have a sign or spaces; else the first.
    last_length: bool,
}

impl Reader {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Reader> {
        (0..128_u8).map(|bits| {
            let has = |bit: u8| bits >> bit & 1 == 1;
            Reader {
                bare_lf: has(0),
                folds: has(1),
                trims_names: has(2),
                underscores: has(3),
                any_chunked: has(4),
                length_wins: has(5),
                last_length: has(6),
            }
        })
    }

    /// The requests in `bytes`, and how many bytes are left over.
    pub fn read_all(&self, bytes: &[u8]) -> (Vec<Seen>, usize) {
        let (mut seen, mut rest) = (Vec::new(), bytes);
        while let Some(request) = self.read(rest) {
            rest = &rest[request.len..];
            seen.push(request);
        }
        (seen, rest.len())
    }

    /// The first request in `bytes`, if it is complete.
    pub fn read(&self, bytes: &[u8]) -> Option<Seen> {
        let mut at = 0;
        while self.bare_lf && matches!(bytes.get(at), Some(b'\r' | b'\n')) {
            at += 1;
        }
        let mut lines = Vec::new();
        loop {
            let (line, next) = self.line(bytes, at)?;
            at = next;
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let first = String::from_utf8_lossy(lines.first()?).into_owned();
        let mut words = first.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (body, len) = self.body(&self.fields(&lines[1..]), bytes, at)?;
        Some(Seen { method, target, body, head_len: at, len })
    }

    /// The bytes of the head at the beginning of `bytes`, if it is complete.
    pub fn head(&self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let (line, next) = self.line(bytes, at)?;
            at = next;
            if line.is_empty() {
                return Some(at);
            }
        }
    }

    /// The line at `at`, and where the next begins.
    fn line<'b>(&self, bytes: &'b [u8], at: usize) -> Option<(&'b [u8], usize)> {
        let mut from = at;
        loop {
            let lf = from + bytes.get(from..)?.iter().position(|b| *b == b'\n')?;
            let line = &bytes[at..lf];
            match line.strip_suffix(b"\r") {
                Some(line) => return Some((line, lf + 1)),
                None if self.bare_lf => return Some((line, lf + 1)),
                None => from = lf + 1,
            }
        }
    }

    fn fields(&self, lines: &[&[u8]]) -> Vec<(String, String)> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines {
            let text = String::from_utf8_lossy(line);
            if self.folds && text.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push_str(&text);
                }
                continue;
            }
            let Some((name, value)) = text.split_once(':') else { continue };
            let mut name = name.to_ascii_lowercase();
            if self.trims_names {
                name = name.trim().to_owned();
            }
            if self.underscores {
                name = name.replace('_', "-");
            }
            fields.push((name, value.trim().to_owned()));
        }
        fields
    }

    fn body(&self, fields: &[(String, String)], bytes: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
        let all = |name: &'static str| {
            fields.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
        };
        let chunked = all("transfer-encoding").any(|coding| match self.any_chunked {
            true => coding.to_ascii_lowercase().contains("chunked"),
            false => coding.eq_ignore_ascii_case("chunked"),
        });
        let length = match self.last_length {
            true => all("content-length").next_back().map(|l| l.trim_start_matches('+')),
            false => all("content-length").next(),
        };
        // What begins with no digit is 0 to some.
        let digits = |l: &str| l.chars().take_while(char::is_ascii_digit).collect::<String>();
        let length = length.map(|l| digits(l).parse::<usize>().unwrap_or(0));
        match (chunked, length) {
            (true, Some(length)) if self.length_wins => plain(bytes, at, length),
            (true, _) => self.chunks(bytes, at),
            (false, length) => plain(bytes, at, length.unwrap_or(0)),
        }
    }

    fn chunks(&self, bytes: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
        let mut body = Vec::new();
        loop {
            let (line, next) = self.line(bytes, at)?;
            let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
            // Overflow wraps, as it did in many.
            let fold = |sum: usize, b: &u8| sum << 4 | (*b as char).to_digit(16).unwrap_or(0) as usize;
            let size = line[..digits].iter().fold(0, fold);
            at = next;
            if size == 0 {
                break;
            }
            body.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
            at += size;
            let (_, next) = self.line(bytes, at)?;
            at = next;
        }
        loop {
            let (line, next) = self.line(bytes, at)?;
            at = next;
            if line.is_empty() {
                return Some((body, at));
            }
        }
    }
}

fn plain(bytes: &[u8], at: usize, length: usize) -> Option<(Vec<u8>, usize)> {
    let end = at.checked_add(length)?;
    Some((bytes.get(at..end)?.to_vec(), end))
}
