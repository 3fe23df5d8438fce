//! Happy eyeballs, RFC 8305: which of a name's addresses is tried when. No socket and no clock: the time comes in,
//! and what is to be done goes out.

use std::collections::VecDeque;
use std::time::Duration;

use socket2::SockAddr;

/// Several attempts to connect, of which the first that succeeds wins.
#[derive(Debug)]
pub struct Race {
    /// Not tried yet, in their order.
    addresses: VecDeque<SockAddr>,
    /// What each has before the next one is tried beside it. None: all the time that it takes.
    head_start: Option<Duration>,
    /// Started, and neither failed nor won.
    running: usize,
    /// When the next one is tried though others are running. None: not before they have failed.
    next_at: Option<Duration>,
}

/// What is to be done now.
#[derive(Debug)]
pub enum Step {
    Start(SockAddr),
    /// Nothing, until an attempt has ended, or until then.
    Wait(Option<Duration>),
    /// Every address has failed.
    Lost,
}

impl Race {
    /// With a head start the families take turns, beginning with that of the first address; without one the addresses
    /// stay in their order. (asyncio's `interleave`: 1 with `happy_eyeballs_delay`, otherwise 0.)
    pub fn new(addresses: Vec<SockAddr>, head_start: Option<Duration>) -> Race {
        let addresses = match head_start {
            Some(_) => interleaved(addresses),
            None => addresses.into(),
        };
        Race { addresses, head_start, running: 0, next_at: None }
    }

    /// To be asked again after each `Start`, and whenever something has happened.
    pub fn step(&mut self, now: Duration) -> Step {
        let its_turn = self.running == 0 || self.next_at.is_some_and(|at| at <= now);
        if !its_turn && !self.addresses.is_empty() {
            return Step::Wait(self.next_at);
        }
        match self.addresses.pop_front() {
            Some(address) => {
                self.running += 1;
                self.next_at = self.head_start.and_then(|head_start| now.checked_add(head_start));
                Step::Start(address)
            }
            None if self.running == 0 => Step::Lost,
            None => Step::Wait(None),
        }
    }

    /// One that was started: the next has its turn at once, unless they are tried one after the other and another is
    /// still running.
    pub fn failed(&mut self) {
        self.running = self.running.saturating_sub(1);
        if self.head_start.is_some() {
            self.next_at = Some(Duration::ZERO);
        }
    }
}

/// Each family in its own order, the first of the first family, the first of the other, the second of the first, and
/// so on.
fn interleaved(addresses: Vec<SockAddr>) -> VecDeque<SockAddr> {
    let Some(first) = addresses.first().map(SockAddr::family) else { return VecDeque::new() };
    let (of_first, of_other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.family() == first);
    let mut mixed = VecDeque::new();
    let (mut of_first, mut of_other) = (of_first.into_iter(), of_other.into_iter());
    loop {
        let pair = (of_first.next(), of_other.next());
        if pair.0.is_none() && pair.1.is_none() {
            return mixed;
        }
        mixed.extend(pair.0);
        mixed.extend(pair.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::SocketAddr;

    const HEAD_START: Duration = Duration::from_millis(250);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn addresses(texts: &[&str]) -> Vec<SockAddr> {
        texts.iter().map(|text| SockAddr::from(text.parse::<SocketAddr>().unwrap())).collect()
    }

    fn race(texts: &[&str], head_start: Option<Duration>) -> Race {
        Race::new(addresses(texts), head_start)
    }

    fn started(step: Step) -> String {
        match step {
            Step::Start(address) => address.as_socket().unwrap().to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// In which order, if each fails at once.
    fn order(mut race: Race) -> Vec<String> {
        let mut order = Vec::new();
        loop {
            match race.step(Duration::ZERO) {
                Step::Lost => return order,
                step => order.push(started(step)),
            }
            race.failed();
        }
    }

    #[test]
    fn families_take_turns_and_the_first_ones_family_begins() {
        let texts = ["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"];
        let mixed = ["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"];
        assert_eq!(order(race(&texts, Some(HEAD_START))), mixed);
        let texts = ["1.0.0.1:1", "[::1]:1", "[::2]:1", "[::3]:1"];
        assert_eq!(order(race(&texts, Some(HEAD_START))), texts);
        assert_eq!(order(race(&[], Some(HEAD_START))), [""; 0]);
    }

    #[test]
    fn without_a_head_start_they_stay_in_their_order() {
        let texts = ["[::1]:1", "[::2]:1", "1.0.0.1:1"];
        assert_eq!(order(race(&texts, None)), texts);
    }

    #[test]
    fn the_next_starts_when_the_head_start_is_over() {
        let mut race = race(&["1.0.0.1:1", "[::1]:1", "1.0.0.2:1"], Some(HEAD_START));
        assert_eq!(started(race.step(ms(1000))), "1.0.0.1:1");
        assert!(matches!(race.step(ms(1000)), Step::Wait(Some(at)) if at == ms(1250)));
        assert!(matches!(race.step(ms(1249)), Step::Wait(Some(at)) if at == ms(1250)));
        assert_eq!(started(race.step(ms(1260))), "[::1]:1");
        // Counted from when it really started.
        assert!(matches!(race.step(ms(1300)), Step::Wait(Some(at)) if at == ms(1510)));
        assert_eq!(started(race.step(ms(1510))), "1.0.0.2:1");
        assert!(matches!(race.step(ms(9999)), Step::Wait(None)));
    }

    #[test]
    fn a_failure_starts_the_next_at_once() {
        let mut race = race(&["1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1"], Some(HEAD_START));
        started(race.step(ms(0)));
        race.failed();
        assert_eq!(started(race.step(ms(1))), "1.0.0.2:1");
        assert!(matches!(race.step(ms(1)), Step::Wait(Some(at)) if at == ms(251)));
        assert_eq!(started(race.step(ms(251))), "1.0.0.3:1");
        race.failed();
        assert!(matches!(race.step(ms(260)), Step::Wait(None)));
        race.failed();
        assert!(matches!(race.step(ms(260)), Step::Lost));
    }

    #[test]
    fn one_after_the_other_the_next_waits_for_the_failure() {
        let mut race = race(&["1.0.0.1:1", "1.0.0.2:1"], None);
        started(race.step(ms(0)));
        assert!(matches!(race.step(ms(1 << 40)), Step::Wait(None)));
        race.failed();
        assert_eq!(started(race.step(ms(1 << 40))), "1.0.0.2:1");
        race.failed();
        assert!(matches!(race.step(ms(1 << 40)), Step::Lost));
    }

    #[test]
    fn a_head_start_beyond_the_end_of_time_is_one_after_the_other() {
        let mut race = race(&["1.0.0.1:1", "1.0.0.2:1"], Some(Duration::MAX));
        started(race.step(ms(1)));
        assert!(matches!(race.step(ms(1 << 40)), Step::Wait(None)));
        race.failed();
        started(race.step(ms(1 << 40)));
    }

    proptest! {
        /// Whatever fails when: each address is started once, never two within one head start unless one has failed, and
        /// the end comes when all have failed and not before.
        #[test]
        fn every_address_has_its_turn(
            families in proptest::collection::vec(any::<bool>(), 0..12),
            patient in any::<bool>(),
            happenings in proptest::collection::vec((0..400u64, any::<bool>()), 0..80),
        ) {
            let all: Vec<_> = families.iter().enumerate().map(|(n, v6)| {
                SockAddr::from(if *v6 { format!("[::{}]:1", n + 1) } else { format!("1.0.0.{}:1", n + 1) }
                    .parse::<SocketAddr>().unwrap())
            }).collect();
            let mut race = Race::new(all.clone(), (!patient).then_some(HEAD_START));
            let (mut now, mut running, mut begun, mut failures) = (ms(0), 0, Vec::new(), 0);
            let mut last = None;
            for (pause, fails) in happenings.into_iter().chain(std::iter::repeat_n((1000, true), 40)) {
                loop {
                    match race.step(now) {
                        Step::Start(address) => {
                            let due = last.is_none_or(|last| now >= last + HEAD_START);
                            prop_assert!(running == 0 || (!patient && (failures > 0 || due)));
                            failures = 0;
                            last = Some(now);
                            running += 1;
                            begun.push(address);
                        }
                        Step::Wait(at) => {
                            prop_assert!(running > 0);
                            prop_assert!(at.is_none_or(|at| at > now && !patient));
                            break;
                        }
                        Step::Lost => {
                            prop_assert!(running == 0 && begun.len() == all.len());
                            break;
                        }
                    }
                }
                now += ms(pause);
                if fails && running > 0 {
                    running -= 1;
                    failures += 1;
                    race.failed();
                }
            }
            prop_assert_eq!(begun.len(), all.len());
            prop_assert!(all.iter().all(|address| begun.contains(address)));
        }
    }
}
