//! Stories of one engine, told to the machine alone.

use super::super::super::json::Happened;
use super::super::super::model::{Network, RunState};
use super::*;
use crate::limits;
use crate::util::rng::Rng;
use std::collections::BTreeMap;

const SECOND: i64 = 1_000_000_000;

struct Scene {
    machine: Option<Machine>,
    now: Instant,
}

fn scene_with(on_stale_socket: OnStaleSocket) -> Scene {
    #[allow(clippy::disallowed_methods)] // any instant will do
    let now = Instant::now();
    Scene { machine: Some(Machine::new(Timings::default(), on_stale_socket)), now }
}

impl Scene {
    fn new() -> Scene {
        let mut scene = scene_with(OnStaleSocket::Keep);
        scene.feed(Input::Start);
        scene
    }

    /// Connected and asked for its list.
    fn listing(mut self) -> Scene {
        self.feed(Input::Connected);
        self.feed(Input::Greeted(greeting()));
        self.feed(Input::Subscribed);
        self
    }

    /// Ready, with `containers`.
    fn ready(containers: &[Container]) -> Scene {
        let mut scene = Scene::new().listing();
        scene.list(containers);
        for container in containers {
            scene.inspect(container);
        }
        assert_eq!(scene.state(), EngineState::Ready);
        scene
    }

    fn feed(&mut self, input: Input) -> Actions {
        let (machine, actions) = self.machine.take().unwrap().step(input, self.now);
        self.machine = Some(machine);
        actions
    }

    fn after(&mut self, time: Duration) -> Actions {
        self.now += time;
        self.feed(Input::Tick)
    }

    fn session(&self) -> u64 {
        self.machine.as_ref().unwrap().session().0
    }

    fn state(&self) -> EngineState {
        self.machine.as_ref().unwrap().told.clone().unwrap().0
    }

    fn list(&mut self, containers: &[Container]) -> Actions {
        let unknown = |c: &Container| Container { started_at: None, ports: Vec::new(), ..c.clone() };
        let result = Ok(containers.iter().map(unknown).collect());
        self.feed(Input::Listed { session: self.session(), result })
    }

    fn inspect(&mut self, container: &Container) -> Actions {
        self.inspect_result(&container.id, Ok(container.clone()))
    }

    fn inspect_result(&mut self, id: &str, result: Result<Container, CallError>) -> Actions {
        self.feed(Input::Inspected { session: self.session(), id: id.into(), result })
    }

    fn event(&mut self, id: &str, happened: Happened, at: i64) -> Actions {
        self.feed(Input::Event(Event { id: id.into(), at, happened }))
    }

    fn lose(&mut self) {
        self.feed(Input::Ended(Ending::Closed("eof".into())));
        self.feed(Input::ConnectFailed(ConnectFailure::Nobody("refused".into())));
    }
}

fn greeting() -> Greeting {
    Greeting { version: ApiVersion { major: 1, minor: 41 }, engine_time: Some(100 * SECOND) }
}

fn container(id: &str, started: i64, ip: &str) -> Container {
    Container {
        id: id.into(),
        name: id.into(),
        image: "image".into(),
        labels: BTreeMap::new(),
        state: RunState::Running,
        started_at: Some(started * SECOND),
        host_network: false,
        networks: vec![Network { name: "bridge".into(), id: String::new(), ip: Some(ip.parse().unwrap()) }],
        ports: Vec::new(),
        mounts: Vec::new(),
    }
}

fn exited(id: &str) -> Container {
    let mut container = container(id, 1, "10.0.0.1");
    container.state = RunState::Exited;
    container.networks[0].ip = None;
    container
}

fn status(status: u16) -> CallError {
    CallError::Status { status, message: "because".into() }
}

fn states(actions: &Actions) -> Vec<EngineState> {
    let state = |action: &Action| match action {
        Action::State { state, .. } => Some(state.clone()),
        _ => None,
    };
    actions.iter().filter_map(state).collect()
}

fn inspects(actions: &Actions) -> Vec<&str> {
    fn id(action: &Action) -> Option<&str> {
        match action {
            Action::Inspect { id } => Some(id),
            _ => None,
        }
    }
    actions.iter().filter_map(id).collect()
}

fn synced(actions: &Actions) -> Option<&Vec<Container>> {
    actions.iter().find_map(|action| match action {
        Action::Synced(containers) => Some(containers),
        _ => None,
    })
}

fn problems(actions: &Actions) -> usize {
    let bad = |action: &&Action| matches!(action, Action::Warn(_) | Action::State { level: Level::Warn, .. });
    actions.iter().filter(bad).count()
}

#[test]
fn a_connect_subscribes_before_it_lists_and_is_unverified_until_synced() {
    let mut scene = scene_with(OnStaleSocket::Keep);
    assert_eq!(scene.feed(Input::Start), [Action::Connect { after: Duration::ZERO }]);
    let actions = scene.feed(Input::Connected);
    assert!(matches!(actions[..], [Action::State { state: EngineState::Unverified, .. }, Action::Greet]));
    let subscribe = Action::Subscribe { version: greeting().version, since: 100 * SECOND };
    assert_eq!(scene.feed(Input::Greeted(greeting())), [subscribe]);
    assert_eq!(scene.feed(Input::Subscribed), [Action::List, Action::Info]);
    let (a, b) = (container("a", 1, "10.0.0.2"), exited("b"));
    assert_eq!(inspects(&scene.list(&[b.clone(), a.clone()])), ["a", "b"], "the running ones first");
    assert_eq!(scene.inspect(&a), []);
    let actions = scene.inspect(&b);
    assert_eq!(actions[0], Action::Synced(vec![a, b]));
    assert_eq!(states(&actions), [EngineState::Ready]);
    assert_eq!(problems(&actions), 0);
}

#[test]
fn an_engine_without_containers_is_ready_at_once() {
    let mut scene = Scene::new().listing();
    let actions = scene.list(&[]);
    assert_eq!(synced(&actions), Some(&Vec::new()));
    assert_eq!(states(&actions), [EngineState::Ready]);
}

#[test]
fn what_the_engine_is_is_told_once_and_when_it_is_another() {
    let mut scene = Scene::ready(&[]);
    let mut told = |version: &str| {
        let info = Info { server_version: version.into(), ..Info::default() };
        let actions = scene.feed(Input::Info { session: scene.session(), result: Ok(info) });
        actions.iter().filter(|action| matches!(action, Action::Identity(_))).count()
    };
    assert_eq!((told("20.10.24"), told("20.10.24"), told("29.0.0")), (1, 0, 1));
}

#[test]
fn what_a_failed_connect_means() {
    use ConnectFailure as F;
    let why = || "why".to_owned();
    let live = |live_restore| Ok(Info { live_restore, ..Info::default() });
    type Before = fn(&mut Scene);
    let never: Before = |_| {};
    let was_ready: Before = |scene| {
        scene.feed(Input::Connected);
        scene.feed(Input::Greeted(greeting()));
        scene.feed(Input::Subscribed);
        scene.list(&[]);
        scene.feed(Input::Ended(Ending::Closed("eof".into())));
    };
    let half_connected: Before = |scene| {
        scene.now += limits::ENGINE_DYING;
        scene.feed(Input::Connected);
        scene.feed(Input::Ended(Ending::Closed("eof".into())));
    };
    let met_the_dying: Before = |scene| {
        scene.feed(Input::Connected);
        scene.feed(Input::Ended(Ending::Closed("eof".into())));
    };
    let retry = limits::ENGINE_RETRY_UNIX;
    let cases: [(&[Before], bool, F, EngineState); 10] = [
        (&[never], false, F::Nobody(why()), EngineState::Connecting),
        (&[half_connected], false, F::Nobody(why()), EngineState::Connecting),
        (&[was_ready], false, F::Nobody(why()), EngineState::Lost),
        (&[was_ready, met_the_dying], false, F::Nobody(why()), EngineState::Lost),
        // It listened again and ended before it could be read: its addresses may have changed hands.
        (&[was_ready, half_connected], false, F::Nobody(why()), EngineState::Unverified),
        (&[was_ready, half_connected], true, F::Nobody(why()), EngineState::Lost),
        (&[was_ready], false, F::Stale(why()), EngineState::Stale { trusted: false }),
        (&[was_ready], true, F::Stale(why()), EngineState::Stale { trusted: true }),
        (&[was_ready], false, F::Unknown(why()), EngineState::Unverified),
        (&[was_ready], false, F::Denied(why()), EngineState::Unverified),
    ];
    for (at, (before, live_restore, failure, expected)) in cases.into_iter().enumerate() {
        let mut scene = Scene::new();
        for step in before {
            step(&mut scene);
            scene.feed(Input::Info { session: scene.session(), result: live(live_restore) });
        }
        let actions = scene.feed(Input::ConnectFailed(failure));
        assert_eq!(scene.state(), expected, "case {at}");
        assert_eq!(actions.last(), Some(&Action::Connect { after: retry }), "case {at}");
    }
}

#[test]
fn the_hundredth_failure_is_treated_like_the_first_and_said_once() {
    let mut scene = Scene::ready(&[]);
    scene.feed(Input::Ended(Ending::Closed("eof".into())));
    let mut said = 0;
    for _ in 0..100 {
        let actions = scene.feed(Input::ConnectFailed(ConnectFailure::Nobody("refused".into())));
        assert_eq!(actions.last(), Some(&Action::Connect { after: limits::ENGINE_RETRY_UNIX }));
        said += problems(&actions);
        scene.now += limits::ENGINE_RETRY_UNIX;
    }
    assert_eq!(said, 1);
    assert_eq!(scene.state(), EngineState::Lost);
    assert_eq!(states(&scene.feed(Input::Connected)), [EngineState::Unverified]);
}

#[test]
fn denied_needs_a_second_and_is_tried_less_often() {
    let mut scene = Scene::new();
    let denied = || Input::ConnectFailed(ConnectFailure::Denied("no permission".into()));
    let actions = scene.feed(denied());
    assert_eq!(states(&actions), [EngineState::Connecting]);
    assert_eq!(actions.last(), Some(&Action::Connect { after: limits::ENGINE_RETRY_UNIX }));
    scene.now += limits::ENGINE_DENIED_AFTER;
    let actions = scene.feed(denied());
    assert_eq!(states(&actions), [EngineState::Denied]);
    assert_eq!(actions.last(), Some(&Action::Connect { after: limits::ENGINE_RETRY_REFUSED }));
    assert_eq!(problems(&scene.feed(denied())), 0);
    assert_eq!(states(&scene.feed(Input::Connected)), [EngineState::Unverified]);
}

#[test]
fn behind_a_door_that_closed_later_addresses_may_change() {
    for (live_restore, expected) in [(false, EngineState::Unverified), (true, EngineState::Denied)] {
        let mut scene = Scene::ready(&[]);
        let info = Info { live_restore, ..Info::default() };
        scene.feed(Input::Info { session: scene.session(), result: Ok(info) });
        scene.feed(Input::Ended(Ending::Closed("eof".into())));
        let denied = || Input::ConnectFailed(ConnectFailure::Denied("no permission".into()));
        assert_eq!(states(&scene.feed(denied())), [EngineState::Unverified]);
        scene.now += limits::ENGINE_DENIED_AFTER;
        let actions = scene.feed(denied());
        assert_eq!((states(&actions), problems(&actions)), (vec![expected], 1), "the reason is said");
        assert_eq!(problems(&scene.feed(denied())), 0);
    }
}

#[test]
fn a_stale_socket_asks_for_the_exit_once() {
    let mut scene = scene_with(OnStaleSocket::Exit);
    let stale = || Input::ConnectFailed(ConnectFailure::Stale("deleted".into()));
    let exits = |actions: &Actions| actions.iter().filter(|a| matches!(a, Action::Exit { .. })).count();
    assert_eq!(exits(&scene.feed(stale())), 1);
    assert_eq!(exits(&scene.feed(stale())), 0);
    let mut keeps = Scene::new();
    assert_eq!(exits(&keeps.feed(stale())), 0);
}

#[test]
fn a_stream_that_ends_is_connected_at_once_but_never_in_a_hurry() {
    let ended = || Input::Ended(Ending::Closed("eof".into()));
    let mut scene = Scene::ready(&[]);
    assert_eq!(scene.feed(ended()), [Action::Connect { after: Duration::ZERO }]);
    scene.feed(Input::Connected);
    assert_eq!(scene.feed(ended()), [Action::Connect { after: limits::ENGINE_RETRY_UNIX / 10 }]);
    scene.now += limits::ENGINE_DYING;
    scene.feed(Input::Connected);
    assert_eq!(scene.feed(ended()), [Action::Connect { after: limits::ENGINE_RETRY_UNIX }]);
    let mut scene = Scene::new().listing();
    assert_eq!(scene.feed(ended()), [Action::Connect { after: limits::ENGINE_RETRY_UNIX }]);
}

#[test]
fn an_unknown_api_is_said_once_and_tried_slowly() {
    let mut scene = Scene::new();
    let mut said = 0;
    for _ in 0..3 {
        scene.feed(Input::Connected);
        let actions = scene.feed(Input::Incompatible("speaks 1.39".into()));
        assert_eq!(actions.last(), Some(&Action::Connect { after: limits::ENGINE_RETRY_REFUSED }));
        said += problems(&actions);
    }
    assert_eq!((said, scene.state()), (1, EngineState::Unverified));
}

#[test]
fn a_die_is_reported_at_once_and_a_start_after_its_inspect() {
    let a = container("a", 10, "10.0.0.2");
    let mut scene = Scene::ready(std::slice::from_ref(&a));
    let actions = scene.event("a", Happened::Die, 20 * SECOND);
    assert_eq!(actions[0], Action::Died { id: "a".into(), at: 20 * SECOND });
    assert_eq!(inspects(&actions), ["a"]);
    let mut dead = a.clone();
    dead.state = RunState::Exited;
    dead.networks[0].ip = None;
    assert_eq!(scene.inspect(&dead), [], "that it ended is known");
    assert_eq!(inspects(&scene.event("a", Happened::Start, 30 * SECOND)), ["a"]);
    let again = container("a", 30, "10.0.0.3");
    assert_eq!(scene.inspect(&again), [Action::Changed(Box::new(again.clone()))]);
}

#[test]
fn a_replayed_die_of_an_earlier_run_ends_nothing() {
    let a = container("a", 10, "10.0.0.2");
    let mut scene = Scene::ready(std::slice::from_ref(&a));
    let actions = scene.event("a", Happened::Die, 9 * SECOND);
    assert_eq!(actions, [Action::Inspect { id: "a".into() }]);
    assert_eq!(scene.inspect(&a), []);
}

#[test]
fn an_answer_older_than_a_die_is_never_shown_as_running() {
    let a = container("a", 10, "10.0.0.2");
    // While the engine is ready:
    let mut scene = Scene::ready(std::slice::from_ref(&a));
    scene.event("a", Happened::Change, 19 * SECOND);
    scene.event("a", Happened::Die, 20 * SECOND);
    let actions = scene.inspect(&Container { name: "renamed".into(), ..a.clone() });
    assert_eq!(actions, [Action::Inspect { id: "a".into() }], "asked again, nothing shown");
    // While its first list is read:
    let mut scene = Scene::new().listing();
    assert_eq!(inspects(&scene.list(std::slice::from_ref(&a))), ["a"]);
    scene.event("a", Happened::Die, 20 * SECOND);
    let actions = scene.inspect(&a);
    let shown = &synced(&actions).unwrap()[0];
    assert_eq!((shown.state, shown.networks[0].ip), (RunState::Exited, None));
    assert_eq!(inspects(&actions), ["a"]);
}

#[test]
fn a_container_known_from_before_dies_while_the_engine_is_unverified() {
    let a = container("a", 10, "10.0.0.2");
    let mut scene = Scene::ready(std::slice::from_ref(&a));
    scene.lose();
    scene = scene.listing();
    let actions = scene.event("a", Happened::Die, 20 * SECOND);
    assert_eq!(actions[0], Action::Died { id: "a".into(), at: 20 * SECOND });
    // The list was taken before; its inspect is under way already.
    assert_eq!(synced(&scene.list(std::slice::from_ref(&a))), None);
    let actions = scene.inspect(&container("a", 30, "10.0.0.9"));
    let shown = &synced(&actions).unwrap()[0];
    assert_eq!(shown.started_at, Some(30 * SECOND));
}

#[test]
fn what_was_destroyed_is_not_brought_back_by_an_older_list() {
    let a = container("a", 10, "10.0.0.2");
    let mut scene = Scene::ready(std::slice::from_ref(&a));
    scene.lose();
    scene = scene.listing();
    let actions = scene.event("a", Happened::Destroy, 20 * SECOND);
    assert_eq!(actions, [Action::Destroyed { id: "a".into() }]);
    let actions = scene.list(std::slice::from_ref(&a));
    assert_eq!(synced(&actions), Some(&Vec::new()));
}

#[test]
fn a_container_started_while_the_list_is_read_is_found() {
    let mut scene = Scene::new().listing();
    assert_eq!(inspects(&scene.event("new", Happened::Start, 20 * SECOND)), ["new"]);
    let actions = scene.list(&[]);
    assert_eq!(synced(&actions), Some(&Vec::new()), "nobody waits for it");
    let new = container("new", 20, "10.0.0.4");
    assert_eq!(scene.inspect(&new), [Action::Changed(Box::new(new.clone()))]);
}

#[test]
fn inspects_are_bounded_and_what_happens_goes_first() {
    let all: Vec<Container> = (0..10).map(|n| container(&format!("c{n}"), 1, "10.0.0.2")).collect();
    let mut scene = Scene::new().listing();
    assert_eq!(inspects(&scene.list(&all)), ["c0", "c1", "c2", "c3"]);
    assert_eq!(inspects(&scene.event("c9", Happened::Change, 1)), [] as [&str; 0], "queued already");
    scene.event("new", Happened::Start, 1);
    assert_eq!(inspects(&scene.inspect(&all[0])), ["new"]);
    assert_eq!(inspects(&scene.inspect(&all[1])), ["c4"]);
}

#[test]
fn what_is_being_started_or_cleared_away_keeps_no_start_waiting() {
    let (a, b) = (container("a", 10, "10.0.0.2"), exited("b"));
    let down: Vec<Container> = (0..6).map(|n| container(&format!("c{n}"), 10, "10.0.0.3")).collect();
    let all: Vec<Container> = [a].into_iter().chain(down.clone()).chain([b]).collect();
    let mut scene = Scene::ready(&all);
    // Inspects after a death may be held back by the engine; one slot is kept free of them.
    let asked = |scene: &mut Scene, c: &Container| {
        let actions = scene.event(&c.id, Happened::Die, 20 * SECOND);
        inspects(&actions).len()
    };
    assert_eq!(down.iter().map(|c| asked(&mut scene, c)).collect::<Vec<_>>(), [1, 1, 1, 0, 0, 0]);
    assert_eq!(inspects(&scene.event("b", Happened::Network, 21 * SECOND)), [] as [&str; 0]);
    assert_eq!(inspects(&scene.event("b", Happened::Start, 22 * SECOND)), ["b"]);
    // One that waits for its turn starts again: that changes its turn.
    assert_eq!(
        inspects(&scene.event("c3", Happened::Start, 23 * SECOND)),
        [] as [&str; 0],
        "all slots are taken"
    );
    let actions = scene.inspect(&container("b", 22, "10.0.0.4"));
    assert_eq!(inspects(&actions), ["c3"]);
    scene.inspect(&container("c3", 23, "10.0.0.5"));
    // Networks of what runs matter.
    assert_eq!(inspects(&scene.event("a", Happened::Network, 24 * SECOND)), ["a"]);
    assert_eq!(inspects(&scene.event("c0", Happened::Network, 24 * SECOND)), [] as [&str; 0]);
    let mut dead = down[0].clone();
    dead.state = RunState::Exited;
    dead.networks[0].ip = None;
    assert_eq!(inspects(&scene.inspect(&dead)), ["c5"], "not asked again: its network is no news");
}

#[test]
fn not_found_is_believed_at_the_third_time() {
    let a = container("a", 10, "10.0.0.2");
    let mut scene = Scene::ready(std::slice::from_ref(&a));
    scene.event("a", Happened::Change, 20 * SECOND);
    for _ in 0..2 {
        assert_eq!(scene.inspect_result("a", Err(status(404))), []);
        assert_eq!(inspects(&scene.after(limits::ENGINE_INSPECT_AGAIN)), ["a"]);
    }
    assert_eq!(scene.inspect_result("a", Err(status(404))), [Action::Destroyed { id: "a".into() }]);
}

#[test]
fn one_container_that_cannot_be_inspected_keeps_nobody_waiting() {
    let (a, b) = (container("a", 10, "10.0.0.2"), container("b", 10, "10.0.0.3"));
    let mut scene = Scene::new().listing();
    scene.list(&[a.clone(), b.clone()]);
    scene.inspect(&a);
    let mut said = 0;
    for _ in 0..2 {
        said += problems(&scene.inspect_result("b", Err(status(500))));
        assert_eq!(inspects(&scene.after(limits::ENGINE_BACKOFF)), ["b"]);
    }
    let actions = scene.inspect_result("b", Err(status(500)));
    said += problems(&actions);
    let shown = synced(&actions).unwrap();
    assert_eq!((shown.len(), shown[1].started_at), (2, None), "as the list has it");
    assert_eq!(scene.state(), EngineState::Ready);
    for _ in 0..20 {
        assert_eq!(inspects(&scene.after(limits::ENGINE_BACKOFF)), ["b"], "tried for ever");
        said += problems(&scene.inspect_result("b", Err(status(500))));
    }
    assert_eq!(said, 1);
    scene.after(limits::ENGINE_BACKOFF);
    assert_eq!(scene.inspect(&b), [Action::Changed(Box::new(b.clone()))]);
}

#[test]
fn a_list_that_fails_is_tried_again_and_nothing_is_taken_away() {
    let a = container("a", 10, "10.0.0.2");
    let mut scene = Scene::ready(std::slice::from_ref(&a));
    scene.lose();
    scene = scene.listing();
    let mut said = 0;
    for _ in 0..10 {
        let session = scene.session();
        let actions = scene.feed(Input::Listed { session, result: Err(status(500)) });
        said += problems(&actions);
        assert_eq!(synced(&actions), None);
        assert_eq!(scene.after(limits::ENGINE_BACKOFF), [Action::List]);
    }
    assert_eq!((said, scene.state()), (1, EngineState::Unverified));
    scene.list(std::slice::from_ref(&a));
    assert!(synced(&scene.inspect(&a)).is_some());
}

#[test]
fn an_engine_stopped_for_half_a_minute_is_slow_and_one_problem() {
    let a = container("a", 10, "10.0.0.2");
    let mut scene = Scene::ready(std::slice::from_ref(&a));
    assert_eq!(scene.after(limits::ENGINE_PING_EVERY), [Action::Ping]);
    let mut all = Vec::new();
    let stopped_at = scene.now;
    while scene.now - stopped_at < Duration::from_secs(30) {
        all.extend(scene.after(limits::ENGINE_CALL_TIMEOUT));
        let session = scene.session();
        all.extend(scene.feed(Input::Pong { session, result: Err(CallError::Late) }));
        all.extend(scene.after(limits::ENGINE_INSPECT_AGAIN));
    }
    assert_eq!(problems(&all), 1);
    assert_eq!(states(&all), [EngineState::Slow]);
    assert!(all.iter().all(|action| matches!(action, Action::State { .. } | Action::Ping)), "{all:?}");
    let session = scene.session();
    let actions = scene.feed(Input::Pong { session, result: Ok(()) });
    assert_eq!(states(&actions), [EngineState::Ready]);
    assert_eq!(problems(&actions), 0);
}

#[test]
fn an_info_that_fails_is_asked_again() {
    let mut scene = Scene::new().listing();
    scene.list(&[]);
    let session = scene.session();
    assert_eq!(scene.feed(Input::Info { session, result: Err(CallError::Late) }), []);
    assert_eq!(scene.after(limits::ENGINE_BACKOFF), [Action::Info]);
    let info = Info { live_restore: true, ..Info::default() };
    scene.feed(Input::Info { session, result: Ok(info) });
    scene.feed(Input::Ended(Ending::Closed("eof".into())));
    scene.feed(Input::ConnectFailed(ConnectFailure::Stale("deleted".into())));
    assert_eq!(scene.state(), EngineState::Stale { trusted: true });
}

#[test]
fn a_late_ping_is_seen_before_its_call_ends() {
    let mut scene = Scene::ready(&[]);
    scene.after(limits::ENGINE_PING_EVERY);
    let deadline = scene.machine.as_ref().unwrap().deadline();
    assert_eq!(deadline, Some(scene.now + limits::ENGINE_PING_LATE));
    assert_eq!(states(&scene.after(limits::ENGINE_PING_LATE)), [EngineState::Slow]);
}

#[test]
fn a_relist_asks_only_for_what_changed() {
    let (a, b) = (container("a", 10, "10.0.0.2"), container("b", 10, "10.0.0.3"));
    let mut scene = Scene::ready(&[a.clone(), b.clone()]);
    let actions = scene.after(limits::ENGINE_RELIST_EVERY);
    assert!(actions.contains(&Action::List));
    // b has another address: a `die` and a `start` were missed.
    let moved = container("b", 20, "10.0.0.9");
    assert_eq!(inspects(&scene.list(&[a.clone(), moved.clone()])), ["b"]);
    let actions = scene.inspect(&moved);
    assert_eq!(actions[0], Action::Changed(Box::new(moved.clone())));
    assert_eq!(synced(&actions), Some(&vec![a.clone(), moved]));
    // b is gone.
    scene.after(limits::ENGINE_RELIST_EVERY);
    assert_eq!(synced(&scene.list(std::slice::from_ref(&a))), Some(&vec![a.clone()]));
}

#[test]
fn a_relist_that_fails_makes_the_engine_slow_until_one_succeeds() {
    let mut scene = Scene::ready(&[]);
    scene.after(limits::ENGINE_RELIST_EVERY);
    let session = scene.session();
    scene.feed(Input::Pong { session, result: Ok(()) });
    let actions = scene.feed(Input::Listed { session, result: Err(CallError::Late) });
    assert_eq!((states(&actions), problems(&actions)), (vec![EngineState::Slow], 1));
    assert!(scene.after(limits::ENGINE_BACKOFF).contains(&Action::List));
    assert_eq!(states(&scene.list(&[])), [EngineState::Ready]);
}

#[test]
fn answers_of_an_earlier_connection_are_ignored() {
    let a = container("a", 10, "10.0.0.2");
    let mut scene = Scene::new().listing();
    let old = scene.session();
    scene.list(std::slice::from_ref(&a));
    scene.lose();
    scene = scene.listing();
    assert_eq!(scene.feed(Input::Listed { session: old, result: Ok(Vec::new()) }), []);
    assert_eq!(scene.feed(Input::Inspected { session: old, id: "a".into(), result: Ok(a.clone()) }), []);
    assert_eq!(scene.state(), EngineState::Unverified);
}

#[test]
fn an_overflow_reads_on_from_the_last_event() {
    let mut scene = Scene::ready(&[]);
    scene.event("a", Happened::Start, 123 * SECOND);
    let actions = scene.feed(Input::Ended(Ending::Overflow));
    assert_eq!(actions.last(), Some(&Action::Connect { after: Duration::ZERO }));
    scene.feed(Input::Connected);
    let subscribe = Action::Subscribe { version: greeting().version, since: 123 * SECOND };
    assert_eq!(scene.feed(Input::Greeted(greeting())), [subscribe]);
}

#[test]
fn of_very_many_only_the_running_are_waited_for() {
    let many = limits::ENGINE_INSPECT_ALL + 1;
    let mut all: Vec<Container> = (1..many).map(|n| exited(&format!("x{n:04}"))).collect();
    let a = container("a", 10, "10.0.0.2");
    all.push(a.clone());
    let mut scene = Scene::new().listing();
    assert_eq!(inspects(&scene.list(&all)), ["a", "x0001", "x0002", "x0003"]);
    assert_eq!(synced(&scene.inspect(&a)).map(Vec::len), Some(many));
    assert_eq!(inspects(&scene.inspect(&exited("x0001"))), ["x0004"], "the rest is inspected meanwhile");
}

/// Whatever comes in whatever order: no panic, at most `ENGINE_INSPECTS` inspects at once, nothing but
/// ends between `Unverified` and `Synced`, and never two connects under way.
#[test]
fn a_random_walk_keeps_the_promises() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let mut walk = Walk::new();
        for _ in 0..5_000 {
            walk.step(&mut rng);
        }
        assert!(walk.synced > 10, "seed {seed} synced {} times", walk.synced);
    }
}

struct Walk {
    scene: Scene,
    /// Calls and commands the machine has given and that are not answered.
    asked: Vec<(u64, Action)>,
    verified: bool,
    synced: u32,
}

impl Walk {
    fn new() -> Walk {
        let mut scene = scene_with(OnStaleSocket::Exit);
        let actions = scene.feed(Input::Start);
        let mut walk = Walk { scene, asked: Vec::new(), verified: false, synced: 0 };
        walk.take(actions);
        walk
    }

    fn step(&mut self, rng: &mut Rng) {
        self.scene.now += Duration::from_millis(rng.below(200));
        let actions = match rng.below(4) {
            0 => self.scene.feed(Input::Tick),
            1 => match self.open() {
                true => {
                    use Happened::{Change, Destroy, Die, Network, Start};
                    let happened = [Start, Die, Destroy, Change, Network][rng.below(5) as usize];
                    let at = rng.below(100) as i64 * SECOND;
                    self.scene.event(&format!("c{}", rng.below(6)), happened, at)
                }
                false => Vec::new(),
            },
            _ => self.answer(rng),
        };
        self.take(actions);
    }

    fn open(&self) -> bool {
        self.scene.machine.as_ref().unwrap().phase == Phase::Open
    }

    /// Answers one thing that was asked, well or badly.
    fn answer(&mut self, rng: &mut Rng) -> Actions {
        if self.open() && rng.below(40) == 0 {
            return self.scene.feed(Input::Ended(Ending::Closed("cut".into())));
        }
        if self.asked.is_empty() {
            return Vec::new();
        }
        let (session, action) = self.asked.swap_remove(rng.below(self.asked.len() as u64) as usize);
        let bad = rng.below(8) == 0;
        let of = |n: u64, rng: &mut Rng| container(&format!("c{n}"), rng.below(100) as i64, "10.0.0.2");
        let input = match action {
            Action::Connect { .. } if bad => Input::ConnectFailed(ConnectFailure::Nobody("no".into())),
            Action::Connect { .. } => Input::Connected,
            Action::Greet if bad => Input::Ended(Ending::Refused("no".into())),
            Action::Greet => Input::Greeted(greeting()),
            Action::Subscribe { .. } if bad => Input::Ended(Ending::Closed("no".into())),
            Action::Subscribe { .. } => Input::Subscribed,
            Action::List if bad => Input::Listed { session, result: Err(status(500)) },
            Action::List => {
                let list = (0..rng.below(6)).map(|n| of(n, rng)).collect();
                Input::Listed { session, result: Ok(list) }
            }
            Action::Ping => Input::Pong { session, result: Ok(()) },
            Action::Inspect { id } if bad => Input::Inspected { session, id, result: Err(status(404)) },
            Action::Inspect { id } => {
                let mut container = of(0, rng);
                container.id.clone_from(&id);
                Input::Inspected { session, id, result: Ok(container) }
            }
            _ => return Vec::new(),
        };
        self.scene.feed(input)
    }

    fn take(&mut self, actions: Actions) {
        let session = self.scene.session();
        for action in actions {
            match &action {
                Action::State { state: EngineState::Unverified, .. } => self.verified = false,
                Action::State { state: EngineState::Ready | EngineState::Slow, .. } => assert!(self.verified),
                Action::Synced(_) => {
                    self.verified = true;
                    self.synced += 1;
                }
                Action::Changed(_) => assert!(self.verified),
                Action::Connect { .. } => {
                    self.verified = false;
                    // What the old connection was asked on the stream's thread has no answer any more.
                    assert!(!self.asked.iter().any(|(_, a)| matches!(a, Action::Connect { .. })));
                    self.asked.push((session, action));
                }
                Action::Greet
                | Action::Subscribe { .. }
                | Action::List
                | Action::Ping
                | Action::Inspect { .. } => {
                    self.asked.push((session, action));
                }
                _ => {}
            }
        }
        let inspects =
            self.asked.iter().filter(|(of, a)| *of == session && matches!(a, Action::Inspect { .. })).count();
        assert!(inspects <= limits::ENGINE_INSPECTS);
    }
}
