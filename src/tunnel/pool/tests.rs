use super::*;

/// A session as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Session {
    name: char,
    is_connected: bool,
    is_stalled: bool,
    is_multiplexed: bool,
    has_streams: bool,
    has_received: bool,
}

impl Session {
    fn new(name: char) -> Self {
        Self {
            name,
            is_connected: true,
            is_stalled: false,
            is_multiplexed: true,
            has_streams: false,
            has_received: true,
        }
    }

    /// With an agent that carries one connection at a time.
    fn old(name: char) -> Self {
        Self {
            is_multiplexed: false,
            ..Self::new(name)
        }
    }
}

impl Poolable for Session {
    fn is_connected(&self) -> bool {
        self.is_connected
    }

    fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    fn is_multiplexed(&self) -> bool {
        self.is_multiplexed
    }

    fn has_streams(&self) -> bool {
        self.has_streams
    }

    fn has_received(&self) -> bool {
        self.has_received
    }
}

/// A pool whose clock is moved by hand.
struct Fixture {
    pool: Pool<Session>,
    now: Instant,
}

impl Fixture {
    fn new(sessions: &[Session]) -> Self {
        let now = Instant::now();
        let mut pool = Pool::new(true);
        for session in sessions {
            pool.add(*session, now);
        }
        Self { pool, now }
    }

    fn claim(&mut self) -> Claim<Session> {
        self.pool.claim(true, self.now)
    }

    fn claim_impatiently(&mut self) -> Claim<Session> {
        self.pool.claim(false, self.now)
    }

    /// The name of the session that the next connection gets, and goes on using.
    #[track_caller]
    fn granted(&mut self) -> (Number, char) {
        match self.claim() {
            Claim::Granted(number, session) => (number, session.name),
            other => panic!("{other:?}"),
        }
    }

    fn release(&mut self, number: Number) -> bool {
        self.pool.release(number, self.now)
    }

    fn refuse(&mut self, number: Number) {
        self.pool.on_refused(number, self.now);
    }

    fn change(&mut self, name: char, change: impl FnOnce(&mut Session)) {
        let entry = self
            .pool
            .entries
            .iter_mut()
            .find(|entry| entry.session.name == name);
        change(&mut entry.unwrap().session);
    }

    fn add(&mut self, session: Session) -> Number {
        self.pool.add(session, self.now)
    }

    /// The names of the sessions that are left after the next look.
    fn look(&mut self) -> String {
        self.now = self.pool.next_look(self.now).unwrap();
        self.pool.retire(self.now);
        self.names()
    }

    fn names(&self) -> String {
        self.pool.sessions().map(|session| session.name).collect()
    }
}

const SCARCE: Claim<Session> = Claim::Scarce { can_grow: true };

#[test]
fn one_session_is_enough_for_everything() {
    let mut fixture = Fixture::new(&[Session::new('a')]);
    for _ in 0..1000 {
        assert_eq!(fixture.granted().1, 'a');
    }
    assert_eq!(fixture.pool.next_look(fixture.now), None);
}

#[test]
fn nobody_cares_what_the_connections_of_the_only_session_do() {
    let mut fixture = Fixture::new(&[Session::new('a')]);
    let (number, _) = fixture.granted();
    assert!(!fixture.release(number));
    assert_eq!(fixture.pool.next_look(fixture.now), None);
}

#[test]
fn a_stalled_stream_sends_new_connections_elsewhere() {
    let mut fixture = Fixture::new(&[Session::new('a')]);
    fixture.granted();
    fixture.change('a', |session| session.is_stalled = true);
    assert_eq!(fixture.claim(), SCARCE);
    // However many wait, one session is enough for them.
    assert_eq!(fixture.pool.missing(5, 0, fixture.now), 1);
    assert_eq!(fixture.pool.missing(5, 1, fixture.now), 0);
    assert_eq!(fixture.pool.shortage(), Shortage::Stalled);
    fixture.add(Session::new('b'));
    // Those that wait are about to take it.
    assert_eq!(fixture.pool.missing(5, 0, fixture.now), 0);
    assert_eq!(fixture.granted().1, 'b');
    assert_eq!(fixture.granted().1, 'b');
    fixture.change('a', |session| session.is_stalled = false);
    assert_eq!(fixture.granted().1, 'a');
}

#[test]
fn what_there_is_must_do_where_no_other_session_can_be_had() {
    let mut fixture = Fixture::new(&[Session::new('a'), Session::new('b')]);
    fixture.granted();
    for name in ['a', 'b'] {
        fixture.change(name, |session| session.is_stalled = true);
    }
    assert_eq!(fixture.claim(), SCARCE);
    // Who has waited for long enough takes the least loaded, and so does everybody after a failed start.
    let Claim::Granted(_, session) = fixture.claim_impatiently() else {
        panic!("nothing was granted");
    };
    assert_eq!(session.name, 'b');
    fixture.pool.pause(fixture.now);
    assert_eq!(fixture.pool.missing(1, 0, fixture.now), 0);
    assert_eq!(fixture.granted().1, 'a');
    assert_eq!(fixture.granted().1, 'b');
    fixture.now = fixture.pool.next_look(fixture.now).unwrap();
    assert_eq!(fixture.claim(), SCARCE);
    assert_eq!(fixture.pool.missing(1, 0, fixture.now), 1);
}

#[test]
fn what_is_denied_is_not_asked_again_before_the_next_first_session() {
    let mut fixture = Fixture::new(&[Session::new('a')]);
    let (a, _) = fixture.granted();
    fixture.change('a', |session| session.is_stalled = true);
    assert_eq!(fixture.claim(), SCARCE);
    fixture.pool.stop_growing();
    assert_eq!(fixture.pool.missing(1, 0, fixture.now), 0);
    assert_eq!(fixture.pool.next_look(fixture.now), None);
    assert_eq!(fixture.granted().1, 'a');
    fixture.pool.remove(a);
    fixture.add(Session {
        is_stalled: true,
        ..Session::new('b')
    });
    assert_eq!(fixture.claim(), SCARCE);
    assert_eq!(fixture.pool.missing(1, 0, fixture.now), 1);
}

#[test]
fn there_are_only_so_many_sessions() {
    let names = ('a'..).take(MAX_SESSIONS);
    let stalled = |name| Session {
        is_stalled: true,
        ..Session::new(name)
    };
    let mut fixture = Fixture::new(&names.map(stalled).collect::<Vec<_>>());
    assert_eq!(fixture.pool.missing(1, 0, fixture.now), 0);
    // At the limit, connections spread.
    for name in ('a'..).take(MAX_SESSIONS).chain(['a']) {
        assert_eq!(fixture.granted().1, name);
    }
}

#[test]
fn an_agent_that_carries_one_connection_needs_a_session_for_each() {
    let mut fixture = Fixture::new(&[Session::old('a')]);
    let (first, _) = fixture.granted();
    assert_eq!(fixture.claim(), SCARCE);
    assert_eq!(fixture.claim_impatiently(), SCARCE);
    assert_eq!(fixture.pool.shortage(), Shortage::OneAtATime);
    assert_eq!(fixture.pool.missing(1, 0, fixture.now), 1);
    assert_eq!(fixture.pool.missing(2, 1, fixture.now), 1);
    assert_eq!(fixture.pool.missing(7, 0, fixture.now), MAX_STARTS);
    fixture.add(Session::old('b'));
    assert_eq!(fixture.pool.missing(2, 0, fixture.now), 1);
    assert_eq!(fixture.granted().1, 'b');
    // Whoever waits is to look again when one comes free.
    assert!(fixture.release(first));
    assert_eq!(fixture.granted().1, 'a');
    for name in ('c'..).take(MAX_SESSIONS - 2) {
        fixture.add(Session::old(name));
        assert_eq!(fixture.granted().1, name);
    }
    assert_eq!(fixture.claim(), Claim::Scarce { can_grow: false });
    assert_eq!(fixture.pool.missing(1, 0, fixture.now), 0);
}

#[test]
fn a_lone_old_session_that_comes_free_matters_to_whoever_waits() {
    let mut fixture = Fixture::new(&[Session::old('a')]);
    let (number, _) = fixture.granted();
    assert!(fixture.release(number));
}

#[test]
fn sessions_without_a_connection_are_waited_for_and_not_added_to() {
    let mut fixture = Fixture::new(&[Session::new('a'), Session::new('b')]);
    for name in ['a', 'b'] {
        fixture.change(name, |session| session.is_connected = false);
    }
    assert_eq!(fixture.claim(), Claim::Offline);
    assert_eq!(fixture.claim_impatiently(), Claim::Offline);
    fixture.change('b', |session| session.is_connected = true);
    assert_eq!(fixture.granted().1, 'b');
    assert_eq!(Fixture::new(&[]).claim(), Claim::Offline);
}

#[test]
fn of_two_sessions_the_one_without_connections_is_ended_after_a_time() {
    let mut fixture = Fixture::new(&[Session::new('a')]);
    let start = fixture.now;
    fixture.change('a', |session| session.is_stalled = true);
    let b = fixture.add(Session::new('b'));
    assert_eq!(fixture.granted(), (b, 'b'));
    fixture.change('a', |session| session.is_stalled = false);
    // Which of them was the first does not matter.
    fixture.now += Duration::from_secs(10);
    fixture.release(b);
    assert_eq!(fixture.look(), "b");
    assert_eq!(fixture.now - start, GRACE);
    assert_eq!(fixture.pool.next_look(fixture.now), None);
}

#[test]
fn the_youngest_goes_first_and_the_last_one_stays() {
    let mut fixture = Fixture::new(&['a', 'b', 'c'].map(Session::new));
    assert_eq!(fixture.look(), "a");
    assert_eq!(fixture.pool.next_look(fixture.now), None);
}

#[test]
fn a_session_is_not_ended_as_long_as_no_other_is_sound() {
    let mut fixture = Fixture::new(&['a', 'b'].map(Session::new));
    let (a, _) = fixture.granted();
    fixture.change('a', |session| session.is_stalled = true);
    assert_eq!(fixture.look(), "ab");
    assert_eq!(fixture.look(), "ab");
    fixture.change('a', |session| session.is_stalled = false);
    assert_eq!(fixture.look(), "a");
    fixture.release(a);
    assert_eq!(fixture.names(), "a");
}

#[test]
fn a_session_that_still_sends_is_not_ended() {
    let mut fixture = Fixture::new(&['a', 'b'].map(Session::new));
    fixture.granted();
    fixture.change('b', |session| session.has_streams = true);
    assert_eq!(fixture.look(), "ab");
    fixture.change('b', |session| session.has_streams = false);
    assert_eq!(fixture.look(), "a");
}

#[test]
fn an_old_agents_spare_session_is_ended_although_the_other_is_in_use() {
    let mut fixture = Fixture::new(&['a', 'b'].map(Session::old));
    fixture.granted();
    assert_eq!(fixture.look(), "a");
}

#[test]
fn a_host_that_refuses_after_it_answered_may_have_moved() {
    let mut fixture = Fixture::new(&[Session::new('a')]);
    let (a, _) = fixture.granted();
    fixture.granted();
    fixture.refuse(a);
    assert_eq!(fixture.claim(), SCARCE);
    assert_eq!(fixture.pool.shortage(), Shortage::Moved);
    let b = fixture.add(Session::new('b'));
    assert_eq!(fixture.granted(), (b, 'b'));
    // Connections of the old one that are refused late say nothing about the new one.
    fixture.now += RENEWAL_PERIOD;
    fixture.refuse(a);
    assert_eq!(fixture.granted(), (b, 'b'));
    fixture.refuse(b);
    assert_eq!(fixture.claim(), SCARCE);
}

#[test]
fn a_service_that_is_down_costs_a_session_a_minute() {
    let mut fixture = Fixture::new(&[Session::new('a')]);
    let (a, _) = fixture.granted();
    fixture.refuse(a);
    let unreached = |name| Session {
        has_received: false,
        ..Session::new(name)
    };
    let b = fixture.add(unreached('b'));
    for _ in 0..59 {
        assert_eq!(fixture.granted(), (b, 'b'));
        fixture.refuse(b);
        fixture.release(b);
        fixture.now += Duration::from_secs(1);
    }
    // What is gone is remembered: somebody reached the destination once.
    fixture.pool.remove(a);
    fixture.now += Duration::from_secs(1);
    assert_eq!(fixture.granted(), (b, 'b'));
    fixture.refuse(b);
    assert_eq!(fixture.claim(), SCARCE);
}

#[test]
fn a_destination_that_never_answered_has_not_moved() {
    let mut fixture = Fixture::new(&[Session::new('a')]);
    fixture.change('a', |session| session.has_received = false);
    let (a, _) = fixture.granted();
    fixture.refuse(a);
    assert_eq!(fixture.granted(), (a, 'a'));
}

#[test]
fn a_destination_without_a_name_cannot_move() {
    let mut fixture = Fixture::new(&[Session::new('a')]);
    fixture.pool.can_host_move = false;
    let (a, _) = fixture.granted();
    fixture.refuse(a);
    assert_eq!(fixture.granted(), (a, 'a'));
}

#[test]
fn a_stale_session_is_better_than_none() {
    let mut fixture = Fixture::new(&[Session::new('a')]);
    let (a, _) = fixture.granted();
    fixture.refuse(a);
    fixture.pool.pause(fixture.now);
    assert_eq!(fixture.granted(), (a, 'a'));
}

#[test]
fn a_session_that_is_gone_is_nobodys() {
    let mut fixture = Fixture::new(&['a', 'b'].map(Session::new));
    let (a, _) = fixture.granted();
    fixture.pool.remove(a);
    fixture.pool.remove(a);
    assert!(!fixture.release(a));
    assert_eq!(fixture.granted().1, 'b');
}
