//! Arranging descriptors in a child: the given ones are to stand at 0, 1, 2... in their order. There may be gaps, at which
//! nothing is to be open.
//!
//! One pass of dup2(2) overwrites a source before it was copied, for most choices of sources. So there are two: first
//! each source that stands among the targets is copied above them, then all are put in place. What is in its place
//! already stays. All other descriptors are close-on-exec and need no attention, except the pipe by which the child
//! tells its failure: it is moved out of the way first.

use std::io;
use std::os::fd::RawFd;

use libc::{F_DUPFD_CLOEXEC, F_SETFD};

use super::{cvt, fault};

/// In place of a source: at this number nothing is to stand.
pub(super) const GAP: RawFd = -1;

/// What to do, made before the fork.
#[derive(Debug)]
pub(super) struct Arrangement {
    steps: Vec<Step>,
    /// Where each source stands as the steps go on.
    held: Vec<RawFd>,
    /// Where the pipe for the report stands.
    report: RawFd,
}

/// One system call of the child. The number is that of a source, and where it has one, its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Copy it above all targets.
    Lift(usize),
    /// It stands at its target: let it stay open.
    Keep(usize),
    /// Copy it to its target.
    Place(usize),
}

/// The calls that the steps are made of. A copy gets the lowest number that is free.
trait Table {
    fn copy_above(&mut self, from: RawFd, floor: RawFd) -> io::Result<RawFd>;
    fn copy_to(&mut self, from: RawFd, to: RawFd) -> io::Result<()>;
    fn let_stay_open(&mut self, descriptor: RawFd) -> io::Result<()>;
}

impl Arrangement {
    /// `sources[n]` is to stand at `n` unless it is a [`GAP`]. What of ours stands at a gap is close-on-exec, as
    /// everything.
    pub(super) fn new(sources: Vec<RawFd>) -> Arrangement {
        let at_target = |n: usize| usize::try_from(sources[n]) == Ok(n);
        let lifted = |n: usize| among_targets(sources[n], sources.len()) && !at_target(n);
        let lift = (0..sources.len()).rev().filter(|&n| lifted(n)).map(Step::Lift);
        let wanted = (0..sources.len()).filter(|&n| sources[n] != GAP);
        let place = wanted.map(|n| if at_target(n) { Step::Keep(n) } else { Step::Place(n) });
        let steps = lift.chain(place).collect();
        Arrangement { steps, held: sources, report: -1 }
    }

    /// The pipe for the report, which is to stand wherever it is not in the way.
    pub(super) fn report_by(&mut self, report: RawFd) {
        self.report = report;
    }

    /// How many targets there are, one after the other from 0 on.
    pub(super) fn targets(&self) -> usize {
        self.held.len()
    }

    /// For the forked child: no allocation, no lock.
    pub(super) fn carry_out(&mut self) -> io::Result<()> {
        self.carry_out_on(&mut Kernel)
    }

    /// Where the pipe for the report stands, also after a step that failed.
    pub(super) fn report(&self) -> RawFd {
        self.report
    }

    fn carry_out_on(&mut self, table: &mut impl Table) -> io::Result<()> {
        let floor = self.held.len() as RawFd;
        if among_targets(self.report, self.held.len()) {
            self.report = table.copy_above(self.report, floor)?;
        }
        for &step in &self.steps {
            match step {
                Step::Lift(n) => self.held[n] = table.copy_above(self.held[n], floor)?,
                Step::Keep(n) => table.let_stay_open(self.held[n])?,
                Step::Place(n) => table.copy_to(self.held[n], n as RawFd)?,
            }
        }
        Ok(())
    }
}

fn among_targets(descriptor: RawFd, targets: usize) -> bool {
    usize::try_from(descriptor).is_ok_and(|descriptor| descriptor < targets)
}

/// The descriptors of this process.
struct Kernel;

impl Table for Kernel {
    fn copy_above(&mut self, from: RawFd, floor: RawFd) -> io::Result<RawFd> {
        fault::hit("fcntl")?;
        // SAFETY: opens a new descriptor; numbers only.
        cvt(unsafe { libc::fcntl(from, F_DUPFD_CLOEXEC, floor) })
    }

    fn copy_to(&mut self, from: RawFd, to: RawFd) -> io::Result<()> {
        fault::hit("dup2")?;
        // SAFETY: closes what was at `to`, in a child in which nobody owns it any more.
        cvt(unsafe { libc::dup2(from, to) }).map(drop)
    }

    fn let_stay_open(&mut self, descriptor: RawFd) -> io::Result<()> {
        fault::hit("fcntl")?;
        // SAFETY: clears a flag; numbers only.
        cvt(unsafe { libc::fcntl(descriptor, F_SETFD, 0) }).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What stands at each number: which file, and whether it is closed by execve(2).
    #[derive(Clone, Default)]
    struct Model(BTreeMap<RawFd, (RawFd, bool)>);

    impl Table for Model {
        fn copy_above(&mut self, from: RawFd, floor: RawFd) -> io::Result<RawFd> {
            let file = self.0[&from].0;
            let free = (floor..).find(|number| !self.0.contains_key(number)).unwrap();
            self.0.insert(free, (file, true));
            Ok(free)
        }

        fn copy_to(&mut self, from: RawFd, to: RawFd) -> io::Result<()> {
            // dup2 of a number to itself leaves the flag as it is.
            if from != to {
                self.0.insert(to, (self.0[&from].0, false));
            }
            Ok(())
        }

        fn let_stay_open(&mut self, descriptor: RawFd) -> io::Result<()> {
            self.0.get_mut(&descriptor).unwrap().1 = false;
            Ok(())
        }
    }

    /// Descriptors 0 to 12 of a manager: file N at number N, all close-on-exec but the standard ones.
    fn manager() -> Model {
        Model((0..=12).map(|number| (number, (number, number > 2))).collect())
    }

    fn check(sources: &[RawFd], report: RawFd) {
        let mut table = manager();
        let mut arrangement = Arrangement::new(sources.to_vec());
        arrangement.report_by(report);
        arrangement.carry_out_on(&mut table).unwrap();
        assert_eq!(table.0[&arrangement.report()], (report, true), "report of {sources:?}, {report}");
        let open: BTreeMap<RawFd, RawFd> = table
            .0
            .iter()
            .filter(|(_, (_, cloexec))| !cloexec)
            .map(|(&number, &(file, _))| (number, file))
            .collect();
        let wanted: BTreeMap<RawFd, RawFd> =
            (0..).zip(sources.iter().copied()).filter(|(_, source)| *source != GAP).collect();
        assert_eq!(open, wanted, "sources {sources:?}, report {report}");
    }

    /// All sequences of the given length over the given numbers, the same number more than once included.
    fn sequences(numbers: std::ops::RangeInclusive<RawFd>, length: usize) -> Vec<Vec<RawFd>> {
        let longer = |shorter: Vec<Vec<RawFd>>| {
            let tails = |head: &Vec<RawFd>| {
                numbers.clone().map(|number| [head.as_slice(), &[number]].concat()).collect::<Vec<_>>()
            };
            shorter.iter().flat_map(tails).collect()
        };
        (0..length).fold(vec![Vec::new()], |shorter, _| longer(shorter))
    }

    #[test]
    fn one_to_four_sockets_anywhere_land_behind_the_standard_descriptors() {
        for sockets in (1..=4).flat_map(|length| sequences(3..=8, length)) {
            for standard in [[0, 1, 2], [9, 1, 2], [9, 9, 2], [3, 4, 5]] {
                for report in
                    (3..=12).filter(|report| !sockets.contains(report) && !standard.contains(report))
                {
                    check(&[&standard, sockets.as_slice()].concat(), report);
                }
            }
        }
    }

    #[test]
    fn any_three_to_five_sources_land_in_order() {
        for sources in (3..=5).flat_map(|length| sequences(0..=6, length)) {
            for report in [3, 4, 7] {
                check(&sources, report);
            }
        }
    }

    #[test]
    fn nothing_stands_at_a_gap() {
        for sockets in sequences(3..=8, 2) {
            for gaps in 1..4 {
                let sources = [&[0, 1, 2], &sockets[..1], &vec![GAP; gaps], &sockets[1..]].concat();
                for report in (3..=12).filter(|report| !sockets.contains(report)) {
                    check(&sources, report);
                }
            }
        }
    }

    #[test]
    fn what_is_in_place_costs_no_copy() {
        let steps = Arrangement::new(vec![5, 1, 2, 7]).steps;
        assert_eq!(steps, [Step::Place(0), Step::Keep(1), Step::Keep(2), Step::Place(3)]);
    }

    #[test]
    fn a_step_that_fails_leaves_the_report_reachable() {
        struct Full(Model);
        impl Table for Full {
            fn copy_above(&mut self, _: RawFd, _: RawFd) -> io::Result<RawFd> {
                Err(io::Error::from_raw_os_error(libc::EMFILE))
            }
            fn copy_to(&mut self, from: RawFd, to: RawFd) -> io::Result<()> {
                self.0.copy_to(from, to)
            }
            fn let_stay_open(&mut self, descriptor: RawFd) -> io::Result<()> {
                self.0.let_stay_open(descriptor)
            }
        }
        for report in 3..=12 {
            let mut table = Full(manager());
            let mut arrangement = Arrangement::new(vec![0, 1, 2, 4, 3]);
            arrangement.report_by(report);
            assert!(arrangement.carry_out_on(&mut table).is_err());
            assert_eq!(table.0.0[&arrangement.report()], (report, true));
        }
    }
}
