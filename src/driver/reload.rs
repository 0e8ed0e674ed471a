//! Another plan takes the place of the one in force: reading it, comparing the two, opening what is new, and only then
//! changing anything.
//!
//! It is read by a copy of this process, which may take its time: the file may lie on a slow disk, and hosts are looked
//! up. What comes of it is adopted in one piece. First all that the new plan asks for is had: programs are found,
//! sockets bound. A socket that is open already is not bound but kept, whichever group it belonged to. Where something
//! cannot be had, what was opened for the plan is closed again, and the manager is as it was.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use super::generation::Generation;
use super::group::{Group, release};
use super::{Driver, as_first, own_pid};
use crate::difference::Difference;
use crate::output::Output;
use crate::plan::{Address, Family, GroupSpec, Host, Plan, SocketSpec};
use crate::reading::{HostFound, Reading, Source};
use crate::supervisor::event::{Change, GroupId, NewPlan};
use crate::sys::control::Endpoint;
use crate::sys::reason;
use crate::sys::socket::{self, Listener};

/// What is to become of one group.
enum Step {
    /// It is new.
    Add { spec: GroupSpec, first: Generation, around: Around },
    /// It stays as it is.
    Keep(GroupId),
    /// It is another one; with a generation, its workers are replaced.
    Change { id: GroupId, spec: GroupSpec, difference: Difference, next: Option<(Generation, Around)> },
    /// The plan does not have it any more.
    Remove(GroupId),
}

/// What workers of a new generation find.
#[derive(Default)]
struct Around {
    sockets: Vec<Rc<Listener>>,
    /// The sockets among them that were open before, with what the plan says of them by now.
    adjust: Vec<(Rc<Listener>, SocketSpec)>,
    endpoint: Option<Endpoint>,
}

/// The way from one plan to the other, as far as it is known.
#[derive(Default)]
struct Course {
    steps: Vec<Step>,
    changes: Vec<String>,
    left: Vec<String>,
    errors: Vec<String>,
    keep_going: bool,
}

impl Course {
    /// Something is wrong with a group: the others change without it, or nothing changes.
    fn fail(&mut self, why: String, current: Option<GroupId>) {
        if self.keep_going {
            let what = if current.is_some() { "the group stays as it is" } else { "the group is left out" };
            self.left.push(format!("! {why}; {what}"));
            self.steps.extend(current.map(Step::Keep));
        } else {
            self.errors.push(why);
        }
    }
}

impl Driver {
    /// Begins to read the plan again.
    pub(super) fn begin_reading(&mut self, reload: u64, keep_going: bool) -> Result<(), String> {
        let source = self.plan.as_ref().and_then(|plan| plan.source.clone());
        let Some(mut source) = source else {
            return Err("this manager runs a program of its command line, and no file".to_owned());
        };
        source.keep_going |= keep_going;
        // A group that keeps a socket as it is written needs to look nothing up.
        let known: BTreeMap<String, Vec<Address>> = self.opened.groups.values().map(addresses_of).collect();
        let reader = self.reader;
        let work = move || {
            let outcome = read(reader, &source, &known);
            // What makes it no JSON is told by whoever reads it.
            serde_json::to_vec(&outcome).unwrap_or_default()
        };
        let begun = self.workers.begin_reading(reload, work);
        begun.map_err(|error| format!("cannot begin to read the plan: {}", reason(error)))
    }

    /// Goes over to another plan, or says all that stands in the way; then nothing is changed. Of a dry run nothing but
    /// the words come.
    pub(super) fn adopt(&mut self, reading: Reading, dry_run: bool) -> Result<NewPlan, Vec<String>> {
        let Reading { plan, left_out, warnings, hosts } = reading;
        let keep_going = plan.source.as_ref().is_some_and(|source| source.keep_going);
        let mut course = Course { keep_going, ..Course::default() };
        let mut head = plan;
        as_first(&mut head);
        let mut groups = std::mem::take(&mut head.groups);
        self.keep_passed(head.activation, &mut groups);
        course.left.extend(warnings.into_iter().map(|warning| format!("! {warning}")));
        self.compare_manager(&head, &mut course);
        for spec in groups {
            self.compare(spec, &mut course);
        }
        let mut spared = Vec::new();
        for group in left_out {
            let current = self.current(&group.group).filter(|_| !spared.contains(&group.group));
            course.fail(group.why, current);
            spared.push(group.group);
        }
        self.find_removed(&mut course);
        if dry_run {
            return match course.errors.is_empty() {
                true => Ok(NewPlan { changes: course.changes, left: course.left, groups: Vec::new() }),
                false => Err(course.errors),
            };
        }
        self.open_new(&mut course, &hosts);
        if !course.errors.is_empty() {
            self.give_up(course.steps);
            self.settle_outputs();
            return Err(course.errors);
        }
        self.adjust(&mut course);
        let Course { steps, changes, left, .. } = course;
        let groups = self.change(steps);
        self.disown_dropped();
        self.change_manager(head);
        self.settle_outputs();
        Ok(NewPlan { changes, left, groups })
    }

    /// A plan of one group without sockets has those that were passed to us, as at the start.
    fn keep_passed(&self, activation: bool, groups: &mut [GroupSpec]) {
        let [group] = groups else { return };
        let held = self.current(&group.name).and_then(|id| self.opened.groups.get(&id));
        let Some(held) = held.filter(|_| activation && group.sockets.is_empty()) else { return };
        if held.spec.sockets.iter().all(|socket| matches!(socket.address, Address::Inherited(_))) {
            group.sockets.clone_from(&held.spec.sockets);
        }
    }

    /// Closes logs that nobody writes to any more, and goes by what the plan says of the others.
    pub(super) fn settle_outputs(&mut self) {
        let groups = || self.opened.groups.values();
        let planned = groups().filter(|group| !group.removed).map(|group| (&group.spec, &group.spec.launch));
        let older = groups().flat_map(|group| group.launches().map(move |launch| (&group.spec, launch)));
        let wanted = planned.chain(older).map(|(spec, launch)| (spec.name.as_str(), &launch.output));
        let wanted: Vec<(&str, &Output)> = wanted.collect();
        self.workers.outputs.settle(&wanted);
    }

    /// The group of the plan with this name.
    fn current(&self, name: &str) -> Option<GroupId> {
        let planned = self.opened.groups.iter().find(|(_, group)| !group.removed && group.spec.name == name);
        planned.map(|(&id, _)| id)
    }

    /// What of the manager's own affairs is different.
    fn compare_manager(&self, new: &Plan, course: &mut Course) {
        let Some(old) = &self.plan else { return };
        let log = [
            ("log_level", old.log.level != new.log.level),
            ("log_format", old.log.format != new.log.format),
            ("syslog", old.log.target != new.log.target),
        ];
        let changed: Vec<&str> =
            log.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect();
        if !changed.is_empty() {
            course.changes.push(format!("~ remuda: {} (at once)", changed.join(", ")));
        }
        let fixed = [
            ("name", old.name != new.name),
            ("control_socket", old.control != new.control),
            ("pidfile", old.pidfile != new.pidfile),
            ("subreaper", old.subreaper != new.subreaper),
            ("drain_delay", old.manager.drain_delay != new.manager.drain_delay),
            ("on_signal", old.manager.signals != new.manager.signals),
        ];
        for (key, _) in fixed.into_iter().filter(|(_, differs)| *differs) {
            let line =
                format!("! remuda: {key} stays as it is until the manager is stopped and started again");
            course.left.push(line);
        }
    }

    /// What is different in one group, and whether what it takes can be had.
    fn compare(&self, spec: GroupSpec, course: &mut Course) {
        let current = self.current(&spec.name).and_then(|id| Some((id, self.opened.groups.get(&id)?)));
        let difference = current.map(|(_, group)| Difference::between(&group.spec, &spec));
        let prepare = || {
            let prepared = Generation::of_group(&spec, &self.image.environment);
            prepared.map_err(|obstacle| obstacle.to_string())
        };
        let id = current.map(|(id, _)| id);
        let step = match (id, difference) {
            (None, _) | (_, None) => prepare().map(|first| {
                course.changes.push(format!("+ {}", summary(&spec)));
                Step::Add { spec: spec.clone(), first, around: Around::default() }
            }),
            (Some(id), Some(difference)) if difference.is_empty() => Ok(Step::Keep(id)),
            (Some(id), Some(difference)) => {
                let next = difference.replaces_workers().then(prepare).transpose();
                next.map(|next| {
                    course.changes.push(format!("~ {}: {difference}", spec.name));
                    let next = next.map(|next| (next, Around::default()));
                    Step::Change { id, spec: spec.clone(), difference, next }
                })
            }
        };
        match step {
            Ok(step) => course.steps.push(step),
            Err(why) => course.fail(why, id),
        }
    }

    /// Groups that the plan does not have. Those that it had given up before go on with that.
    fn find_removed(&self, course: &mut Course) {
        for (&id, group) in &self.opened.groups {
            let stays = |step: &Step| match step {
                Step::Keep(kept) | Step::Change { id: kept, .. } => *kept == id,
                Step::Add { .. } | Step::Remove(_) => false,
            };
            if group.removed {
                course.steps.push(Step::Keep(id));
            } else if !course.steps.iter().any(stays) {
                course.changes.push(format!("- {}", group.spec.name));
                course.steps.push(Step::Remove(id));
            }
        }
    }

    /// Opens what the steps need and is not open.
    fn open_new(&mut self, course: &mut Course, hosts: &[HostFound]) {
        let look_up = |name: &str, port: u16, family: Family| found(hosts, name, port, family);
        let mut places = self.places(&course.steps);
        let mut steps = Vec::with_capacity(course.steps.len());
        for step in std::mem::take(&mut course.steps) {
            let opened = match step {
                Step::Add { spec, first, .. } => {
                    let id = self.vacancy(&steps);
                    let around = self.around(id, &spec, first.other_user(), &mut places, &look_up);
                    around
                        .map(|around| Step::Add { spec: spec.clone(), first, around })
                        .map_err(|why| (why, spec.name, None))
                }
                Step::Change { id, spec, difference, next: Some((next, _)) } => {
                    let around = self.around(id, &spec, next.other_user(), &mut places, &look_up);
                    let next = around.map(|around| Some((next, around)));
                    next.map(|next| Step::Change { id, spec: spec.clone(), difference, next })
                        .map_err(|why| (why, spec.name, Some(id)))
                }
                other => Ok(other),
            };
            match opened {
                Ok(step) => steps.push(step),
                Err((why, name, id)) => {
                    course.changes.retain(|line| !is_about(line, &name));
                    course.fail(format!("{name}: {why}"), id);
                    steps.append(&mut course.steps);
                }
            }
        }
        course.steps = steps;
    }

    /// The place that the next new group gets.
    fn vacancy(&self, steps: &[Step]) -> GroupId {
        let added = steps.iter().filter(|step| matches!(step, Step::Add { .. })).count();
        // There is always another one.
        self.core.vacancies().nth(added).unwrap_or(GroupId(usize::MAX))
    }

    /// Every open socket that a group may have, or keep.
    fn places(&self, steps: &[Step]) -> Vec<Place> {
        let kept = |id: GroupId| {
            steps.iter().any(|step| match step {
                Step::Keep(kept) | Step::Change { id: kept, next: None, .. } => *kept == id,
                Step::Change { next: Some(_), .. } | Step::Add { .. } | Step::Remove(_) => false,
            })
        };
        let mut places: Vec<Place> = Vec::new();
        for (&group, held) in &self.opened.groups {
            let kept = kept(group) && !held.removed;
            for (listener, spec) in held.sockets.iter().zip(&held.spec.sockets) {
                let listener = Rc::clone(listener);
                places.push(Place { group, spec: Some(spec.clone()), listener, taken: kept });
            }
        }
        for (&group, held) in &self.opened.groups {
            for listener in held.listeners() {
                if !places.iter().any(|place| Rc::ptr_eq(&place.listener, listener)) {
                    let listener = Rc::clone(listener);
                    places.push(Place { group, spec: None, listener, taken: false });
                }
            }
        }
        places
    }

    /// The sockets of a group as the new plan has it, those that are open already among them.
    fn around(
        &mut self,
        id: GroupId,
        spec: &GroupSpec,
        uid: Option<u32>,
        places: &mut [Place],
        look_up: &socket::LookUp<'_>,
    ) -> Result<Around, String> {
        self.workers.outputs.add(spec).map_err(|error| error.message)?;
        let mut around = Around::default();
        for socket in &spec.sockets {
            let same = |place: &&mut Place| {
                let spelled = place.spec.as_ref().is_some_and(|spec| spec.address == socket.address);
                !place.taken && (place.group == id && spelled || place.listener.is_at(socket, look_up))
            };
            if let Some(place) = places.iter_mut().find(same) {
                place.taken = true;
                around.sockets.push(Rc::clone(&place.listener));
                if place.spec.as_ref() != Some(socket) {
                    around.adjust.push((Rc::clone(&place.listener), socket.clone()));
                }
                continue;
            }
            match socket::bind(socket, look_up) {
                Ok(listener) => around.sockets.push(Rc::new(listener)),
                Err(error) => {
                    release_quietly(around.sockets);
                    return Err(error.message);
                }
            }
        }
        match self.opened.clients.door_for_workers(id, spec, uid) {
            Ok(endpoint) => around.endpoint = endpoint,
            Err(error) => {
                release_quietly(around.sockets);
                return Err(error.message);
            }
        }
        Ok(around)
    }

    /// Closes what was opened for a plan that is not to be.
    fn give_up(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Add { around, .. } => release_quietly(around.sockets),
                Step::Change { next: Some((_, around)), .. } => release_quietly(around.sockets),
                Step::Change { next: None, .. } | Step::Keep(_) | Step::Remove(_) => {}
            }
        }
        for id in self.opened.clients.groups_with_doors() {
            self.opened.close_unused_doors(id, &mut |_| ());
        }
    }

    /// Changes what sockets that stay are said to be beside their address. It is no reason to change nothing else.
    fn adjust(&mut self, course: &mut Course) {
        let arounds = course.steps.iter().filter_map(|step| match step {
            Step::Add { around, .. } => Some(around),
            Step::Change { next: Some((_, around)), .. } => Some(around),
            Step::Change { next: None, .. } | Step::Keep(_) | Step::Remove(_) => None,
        });
        for (listener, spec) in arounds.flat_map(|around| &around.adjust) {
            if let Err(whys) = listener.adjust(spec) {
                course.left.extend(whys.into_iter().map(|why| format!("! {why}")));
            }
        }
    }

    /// Nobody is to find those sockets again that the plan has no more: their paths go with them.
    fn disown_dropped(&self) {
        let groups = || self.opened.groups.values();
        let planned: Vec<&Rc<Listener>> = groups().flat_map(|group| &group.sockets).collect();
        for listener in groups().flat_map(Group::listeners) {
            if !planned.iter().any(|planned| Rc::ptr_eq(planned, listener)) {
                listener.set_kept(false);
            }
        }
    }

    /// Makes the new plan the one in force, as far as it is the driver's.
    fn change(&mut self, steps: Vec<Step>) -> Vec<(GroupId, Change)> {
        let mut changes = Vec::with_capacity(steps.len());
        let mut vacancies: Vec<GroupId> = self.core.vacancies().take(steps.len()).collect();
        vacancies.reverse();
        for step in steps {
            changes.extend(match step {
                Step::Keep(id) => Some((id, Change::Kept)),
                Step::Add { spec, first, around } => vacancies.pop().map(|id| {
                    let mut group = Group::new(spec, around.sockets);
                    group.control_path = around.endpoint.as_ref().map(Endpoint::variable);
                    group.begin(first);
                    let start = group.start();
                    self.opened.groups.insert(id, group);
                    (id, Change::Added(Box::new(start)))
                }),
                Step::Change { id, spec, difference, next } => {
                    self.change_group(id, spec, &difference, next).map(|change| (id, change))
                }
                Step::Remove(id) => {
                    if let Some(group) = self.opened.groups.get_mut(&id) {
                        group.removed = true;
                        group.spec.sockets.clear();
                        let journal = &mut self.journal;
                        release(std::mem::take(&mut group.sockets), &mut |why| journal.complain(why));
                    }
                    Some((id, Change::Removed))
                }
            });
        }
        changes
    }

    fn change_group(
        &mut self,
        id: GroupId,
        spec: GroupSpec,
        difference: &Difference,
        next: Option<(Generation, Around)>,
    ) -> Option<Change> {
        let group = self.opened.groups.get_mut(&id)?;
        group.spec = spec;
        let replace = next.is_some();
        if let Some((mut next, around)) = next {
            let before = std::mem::replace(&mut group.sockets, around.sockets);
            group.control_path = around.endpoint.as_ref().map(Endpoint::variable);
            next.hand_off(group.surroundings(), own_pid());
            // Behind a preflight all is looked up again: that may be what brings the new program.
            group.next = group.spec.policy.preflight.is_none().then_some(next);
            let journal = &mut self.journal;
            release(before, &mut |why| journal.complain(why));
        }
        Some(Change::Changed {
            policy: Box::new(group.spec.policy.clone()),
            sockets: group.socket_status(),
            workers: difference.workers.map(|(_, now)| now),
            replace,
        })
    }

    fn change_manager(&mut self, new: Plan) {
        let Some(old) = &mut self.plan else { return };
        self.journal.replan(&old.log, &new.log);
        old.log = new.log;
    }

    /// Closes what is left of a group that the machine has forgotten.
    pub(super) fn forget_group(&mut self, id: GroupId) {
        let journal = &mut self.journal;
        let mut complain = |why: &str| journal.complain(why);
        if let Some(group) = self.opened.groups.remove(&id) {
            group.close(&mut complain);
        }
        self.opened.close_unused_doors(id, &mut complain);
        self.settle_outputs();
    }
}

/// An open socket, and whom the plan gave it to.
struct Place {
    group: GroupId,
    /// As the plan in force has it; absent if only an older generation has it.
    spec: Option<SocketSpec>,
    listener: Rc<Listener>,
    taken: bool,
}

/// Reads a file, and looks up those hosts that their groups are not bound to already. For the copy of this process.
fn read(
    reader: super::Reader,
    source: &Source,
    known: &BTreeMap<String, Vec<Address>>,
) -> Result<Reading, Vec<String>> {
    let mut reading = reader(source)?;
    let mut hosts: Vec<HostFound> = Vec::new();
    for group in &reading.plan.groups {
        let known = known.get(&group.name).map(Vec::as_slice).unwrap_or_default();
        let fresh =
            group.sockets.iter().map(|socket| &socket.address).filter(|&socket| !known.contains(socket));
        for address in fresh {
            if let Address::Tcp(Host::Name(name, port, family))
            | Address::Udp(Host::Name(name, port, family)) = address
            {
                let addresses = socket::look_up(name, *port, *family);
                hosts.push(HostFound { name: name.clone(), port: *port, family: *family, addresses });
            }
        }
    }
    reading.hosts = hosts;
    Ok(reading)
}

/// A group's name, and what its sockets are bound to.
fn addresses_of(group: &Group) -> (String, Vec<Address>) {
    let addresses = group.spec.sockets.iter().map(|socket| socket.address.clone());
    (group.spec.name.clone(), addresses.collect())
}

/// What was looked up for this.
fn found(hosts: &[HostFound], name: &str, port: u16, family: Family) -> Result<Vec<SocketAddr>, String> {
    let same = |host: &&HostFound| (host.name.as_str(), host.port, host.family) == (name, port, family);
    match hosts.iter().find(same) {
        Some(host) => host.addresses.clone(),
        None => Err(format!("{name} was not looked up")),
    }
}

/// A new group in a few words.
fn summary(spec: &GroupSpec) -> String {
    let count = spec.policy.workers;
    let workers = if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") };
    let mut line = format!("{}: {workers} of {}", spec.name, spec.launch.program.display());
    for (number, socket) in spec.sockets.iter().enumerate() {
        line += if number == 0 { " on " } else { ", " };
        line += &socket.address.to_string();
    }
    line
}

/// Whether a line of the difference is about this group.
fn is_about(line: &str, group: &str) -> bool {
    line.get(2..).and_then(|line| line.strip_prefix(group)).is_some_and(|rest| rest.starts_with(':'))
}

/// For what was opened a moment ago: why it is given up is what somebody has to hear of.
fn release_quietly(listeners: Vec<Rc<Listener>>) {
    release(listeners, &mut |_| ());
}
