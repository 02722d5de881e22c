//! may_minihttp, set up once per process; each [`Api`] is reached by a key of its own.

use super::api::{Answer, Api};
use crate::limits;
use crate::net::{self, Reserved};
use crate::util::Locked;
use may_minihttp::{HttpServer, HttpService, Request, Response};
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// The field that carries the key.
pub(super) const KEY_FIELD: &str = "X-Tidegate-Key";
/// Bytes of a key: nobody guesses 128 bits.
const KEY_BYTES: usize = 16;

type Apis = Arc<Locked<Vec<(String, Arc<Api>)>>>;

/// The server of this process; it ends with the process.
struct Server {
    reserved: Reserved,
    apis: Apis,
}

/// An API that is served until this is dropped.
pub(super) struct Registered {
    server: &'static Server,
    key: String,
}

impl Registered {
    pub fn addr(&self) -> SocketAddr {
        self.server.reserved.addr
    }

    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let gone = self.server.apis.with(|apis| {
            let at = apis.iter().position(|(key, _)| *key == self.key)?;
            Some(apis.swap_remove(at))
        });
        drop(gone);
    }
}

/// Serves `api` under a new key.
pub(super) fn register(api: Arc<Api>) -> io::Result<Registered> {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    let server = SERVER.get_or_init(|| start().map_err(|error| error.to_string()));
    let server = server.as_ref().map_err(|error| io::Error::other(error.clone()))?;
    let key = new_key()?;
    server.apis.with(|apis| apis.push((key.clone(), api)));
    Ok(Registered { server, key })
}

fn start() -> io::Result<Server> {
    let config = may::config();
    // One worker: with more, coroutines change threads, which `may` survives and thread-locals on ARM do not.
    config.set_workers(1).set_pool_capacity(limits::ADMIN_STACKS);
    config.set_stack_size(limits::ADMIN_STACK_BYTES / size_of::<usize>());
    // By default it wakes up a hundred times a second and binds its thread to a processor.
    config.set_timeout_ns(1_000_000_000);
    config.set_worker_pin(false);
    let reserved = net::reserve().map_err(|error| io::Error::other(error.to_string()))?;
    let apis = Apis::default();
    HttpServer(Service { apis: Arc::clone(&apis) }).start(reserved.addr)?;
    Ok(Server { reserved, apis })
}

fn new_key() -> io::Result<String> {
    let mut bytes = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[derive(Clone)]
struct Service {
    apis: Apis,
}

impl HttpService for Service {
    fn call(&mut self, request: Request, response: &mut Response) -> io::Result<()> {
        let api = given_key(&request).and_then(|key| {
            let key = key.to_owned();
            self.apis
                .with(|apis| apis.iter().find(|(known, _)| same(known, &key)).map(|(_, api)| Arc::clone(api)))
        });
        let Some(api) = api else {
            response.status_code(403, "Forbidden").body("");
            return Ok(());
        };
        let (method, path) = (request.method().to_owned(), request.path().to_owned());
        // The door has written the length. A body that is not read would be the next request.
        let mut body = Vec::new();
        request.body().take(limits::ADMIN_BODY_BYTES as u64).read_to_end(&mut body)?;
        let Answer { status, content_type, body } = api.answer(&method, &path);
        // The door writes the reason phrase anew.
        response.status_code(usize::from(status), "-").header(content_type);
        response.body_vec(body);
        Ok(())
    }
}

fn given_key<'r>(request: &'r Request<'_, '_, '_>) -> Option<&'r str> {
    let mut fields = request.headers().iter();
    let field = fields.find(|field| field.name.eq_ignore_ascii_case(KEY_FIELD))?;
    std::str::from_utf8(field.value).ok()
}

/// Compares without saying by its time where two keys differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
