//! Ends, children, cancels, approval and second chances in the model.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Family, Job, Model, Past, Place};
use super::step::{JobNo, Run, RunEnd};

const FINAL: [&str; 5] = ["completed", "failed", "budget_exceeded", "cancelled", "rejected"];

/// What a parent counts: a child's end, or that it let go of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Count {
    Completed,
    Budget,
    Dead,
    Hold,
}

impl Family {
    /// The strongest reason counts; one that reaches running children too looks at all of them again.
    fn stop(&mut self, why: &'static str) {
        let rank = |why: &str| match why {
            "dead" | "budget" => 1,
            "cancel" => 2,
            _ => 3,
        };
        let (old, new) = (self.stopping.map_or(0, rank), rank(why));
        if old < 2 && new > old {
            (self.stop_after, self.stop_done) = (0, false);
        }
        if new > old {
            self.stopping = Some(why);
        }
    }

    fn verdict(&self) -> Option<(&'static str, &'static str)> {
        Some(match self.stopping? {
            "dead" => ("cancelled", "sibling_failed"),
            "budget" => ("budget_exceeded", "budget_exceeded"),
            "cancel" => ("cancelled", "parent_cancelled"),
            _ => ("cancelled", "parent_ended"),
        })
    }
}

impl Model {
    pub(super) fn open_children(&self, parent: JobNo) -> usize {
        self.jobs.values().filter(|job| job.parent == Some(parent) && job.place != Place::Ended).count()
    }

    fn family(&mut self, number: JobNo) -> Option<&mut Family> {
        self.jobs.get_mut(&number)?.family.as_mut()
    }

    pub fn end_runs(&mut self, batch: &[(Run, RunEnd)]) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let first: Vec<&(Run, RunEnd)> = batch.iter().filter(|(run, _)| seen.insert(*run)).collect();
        let (mut answers, mut counts) = (BTreeMap::new(), Vec::new());
        let live: Vec<&(Run, RunEnd)> = first.into_iter().filter(|(run, _)| self.holds(*run)).collect();
        let is_final = |end: &RunEnd| {
            matches!(end, RunEnd::Complete | RunEnd::Budget | RunEnd::Fail(_) | RunEnd::Cancel)
        };
        for (run, end) in live.iter().filter(|(_, end)| is_final(end)) {
            let (outcome, code, dead_letter) = match end {
                RunEnd::Complete => ("completed", "", false),
                RunEnd::Budget => ("budget_exceeded", "budget_exceeded", false),
                RunEnd::Fail(dead_letter) => ("failed", "bad", *dead_letter),
                _ => ("cancelled", "cancelled", false),
            };
            if outcome == "completed" {
                self.jobs.get_mut(&run.0).expect("held").result = Some(run.1);
            }
            // what ended well, or was not its own fault, is no failed attempt
            let burnt = self.jobs[&run.0].attempts + i64::from(outcome == "failed");
            counts.extend(self.close(*run, Past { dead_letter, ..past(run.1, outcome, code, burnt, 0) }));
            answers.insert(*run, outcome);
        }
        // what runs again is decided for all of the batch at once, then done
        let again = live.iter().filter(|(_, end)| !is_final(end));
        let decided: Vec<(Run, Past)> = again.map(|(run, end)| (*run, self.decide(*run, end))).collect();
        for (run, end) in decided {
            answers.insert(run, end.outcome);
            self.go_again(run, end, &mut counts);
        }
        self.settle(counts);
        let mut told = BTreeSet::new();
        let answer = |run: &Run| match answers.get(run).filter(|_| told.insert(*run)) {
            Some(outcome) => format!("{outcome} {}", self.status(run.0)),
            None => "stale".to_owned(),
        };
        batch.iter().map(|(run, _)| run).map(answer).collect()
    }

    fn decide(&self, run: Run, end: &RunEnd) -> Past {
        let job = &self.jobs[&run.0];
        let above = job.parent.and_then(|parent| self.jobs[&parent].family.as_ref()?.verdict());
        let stop = if job.cancel { Some(("cancelled", "cancelled")) } else { above };
        if let Some((outcome, code)) = stop {
            return past(run.1, outcome, code, job.attempts, 0);
        }
        let Place::Running { started_at, .. } = job.place else { panic!("it holds its job") };
        let progressed =
            job.checkpoint.is_some_and(|(by, _)| by == run.1) || job.journal.values().any(|by| *by == run.1);
        let lost = if progressed { 0 } else { job.lost + 1 };
        let again = Some(started_at.min(self.now));
        let (attempts, now) = (job.attempts, self.now);
        match end {
            RunEnd::Retry(after) => {
                Past { retry_at: Some(now + after), ..past(run.1, "retried", "busy", attempts + 1, 0) }
            }
            RunEnd::Lost(Some(limit)) if !progressed && lost >= *limit => {
                Past { dead_letter: true, ..past(run.1, "failed", "poison", attempts, lost) }
            }
            RunEnd::Lost(_) => Past { retry_at: again, ..past(run.1, "lost", "worker_lost", attempts, lost) },
            RunEnd::Await => Past { retry_at: Some(now), ..past(run.1, "awaited", "", attempts, 0) },
            _ => Past { retry_at: again, ..past(run.1, "released", "", attempts, job.lost) },
        }
    }

    fn go_again(&mut self, run: Run, end: Past, counts: &mut Vec<(JobNo, Count)>) {
        let outcome = end.outcome;
        counts.extend(self.close(run, end));
        if FINAL.contains(&outcome) {
            return;
        }
        let job = self.jobs.get_mut(&run.0).expect("held");
        if outcome == "awaited" && job.family.is_some() {
            job.place = Place::Waiting;
            counts.push((run.0, Count::Hold));
        } else {
            self.line_up(run.0);
        }
    }

    /// Writes a run's end. Gives what the parent is to count.
    fn close(&mut self, run: Run, end: Past) -> Option<(JobNo, Count)> {
        for call in self.calls.values_mut().filter(|call| call.run == run && call.state == "sent") {
            (call.state, call.booked) = ("unconfirmed", call.worst);
        }
        let outcome = end.outcome;
        let job = self.jobs.get_mut(&run.0).expect("it ends");
        job.past.push(end);
        job.place = Place::Ended;
        let parent = job.parent;
        if !FINAL.contains(&outcome) {
            return None;
        }
        if job.family.is_some() {
            let open = self.open_children(run.0);
            let family = self.family(run.0).expect("just seen");
            family.stop("ended");
            if open == 0 {
                self.jobs.get_mut(&run.0).expect("it ends").family = None;
            }
        }
        let count = match outcome {
            "completed" => Count::Completed,
            "budget_exceeded" => Count::Budget,
            _ => Count::Dead,
        };
        Some((parent?, count))
    }

    /// In line for the run after its last one.
    fn line_up(&mut self, number: JobNo) {
        let now = self.now;
        let job = self.jobs.get_mut(&number).expect("it exists");
        let run_at = match job.past.last() {
            None => job.run_at,
            Some(last) if job.reopened_run >= last.run => now,
            Some(last) => last.retry_at.expect("it runs again"),
        };
        (job.run, job.attempts, job.lost) = next(job);
        job.place = Place::Line { run_at, scheduled: run_at > now };
    }

    /// The same for one that waits for nothing any more: due, though the time of day may have gone back since.
    fn line_up_due(&mut self, number: JobNo) {
        self.line_up(number);
        if let Place::Line { scheduled, .. } = &mut self.jobs.get_mut(&number).expect("it exists").place {
            *scheduled = false;
        }
    }

    /// Level by level: parents count, and go on when nothing is left to wait for.
    fn settle(&mut self, mut counts: Vec<(JobNo, Count)>) {
        while !counts.is_empty() {
            let parents: BTreeSet<JobNo> = counts.iter().map(|(parent, _)| *parent).collect();
            for (parent, count) in counts.drain(..) {
                let Some(family) = self.family(parent) else { continue };
                match count {
                    Count::Completed => {}
                    Count::Hold => family.held = false,
                    Count::Budget => family.stop("budget"),
                    Count::Dead => {
                        family.dead += 1;
                        family.stop("dead");
                    }
                }
            }
            let mut free = Vec::new();
            for parent in parents {
                let open = self.open_children(parent);
                let Some(family) = self.family(parent) else { continue };
                if open > 0 || (family.held && family.stopping != Some("ended")) {
                    continue;
                }
                if !family.held {
                    free.push((parent, family.dead));
                }
                self.jobs.get_mut(&parent).expect("it counts").family = None;
            }
            let verdicts: Vec<_> =
                free.iter().map(|(parent, dead)| (*parent, self.go_on(*parent, *dead))).collect();
            for (parent, verdict) in verdicts {
                match verdict {
                    None => self.line_up_due(parent),
                    Some((outcome, code)) => counts.extend(self.end_without_run(parent, outcome, code)),
                }
            }
        }
    }

    fn go_on(&mut self, parent: JobNo, dead: i64) -> Option<(&'static str, &'static str)> {
        let job = &self.jobs[&parent];
        if job.cancel {
            return Some(("cancelled", "cancelled"));
        }
        if dead > 0 {
            return Some(("failed", "child_failed"));
        }
        let above = job.parent?;
        self.family(above)?.verdict()
    }

    fn end_without_run(
        &mut self,
        number: JobNo,
        outcome: &'static str,
        code: &'static str,
    ) -> Option<(JobNo, Count)> {
        let (run, attempts, lost) = next(&self.jobs[&number]);
        let letter =
            |job: &Job| job.place == Place::Ended && job.past.last().is_some_and(|end| end.dead_letter);
        let children = self.jobs.values().filter(|job| job.parent == Some(number));
        let dead_letter = code == "child_failed" && children.into_iter().any(letter);
        self.close((number, run), Past { dead_letter, ..past(run, outcome, code, attempts, lost) })
    }

    pub fn add_children(&mut self, run: Run, children: &[(JobNo, u8)]) -> String {
        if !self.holds(run) {
            return "stale".to_owned();
        }
        let parent = self.jobs.get_mut(&run.0).expect("held");
        let family = parent.family.get_or_insert_with(|| Family { held: true, ..Family::default() });
        if family.stopping.is_some() {
            return "stopping".to_owned();
        }
        let (parent, mut added) = (parent.clone(), 0);
        for (number, key) in children {
            let there = self.jobs.contains_key(number)
                || self.jobs.values().any(|job| job.parent == Some(run.0) && job.child_key == Some(*key));
            if there {
                continue;
            }
            added += 1;
            let place = Place::Line { run_at: self.now, scheduled: false };
            self.insert(*number, |job| Job {
                owner: parent.owner,
                workload: "w",
                priority: parent.priority,
                parent: Some(run.0),
                child_key: Some(*key),
                budget: parent.budget,
                place,
                ..job
            });
        }
        format!("added {added}")
    }

    /// Ends what is in line or waits for approval.
    fn end_queued(&mut self, jobs: &[JobNo], outcome: &'static str, code: &'static str) -> usize {
        let mut counts = Vec::new();
        for number in jobs {
            counts.extend(self.end_without_run(*number, outcome, code));
        }
        self.settle(counts);
        jobs.len()
    }

    pub fn cancel(&mut self, number: JobNo) -> String {
        let Some(job) = self.jobs.get_mut(&number) else { return "not found".to_owned() };
        let place = job.place;
        if place == Place::Ended {
            return format!("ended {}", self.status(number));
        }
        job.cancel = true;
        if matches!(place, Place::Pending | Place::Line { .. }) {
            self.end_queued(&[number], "cancelled", "cancelled");
            return "cancelled".to_owned();
        }
        if let Some(family) = self.family(number) {
            family.stop("cancel");
        }
        "asked".to_owned()
    }

    pub fn stop_children(&mut self) -> String {
        let stopping = |job: &Job| job.family.as_ref().is_some_and(|f| f.stopping.is_some() && !f.stop_done);
        let first = self.jobs.iter().filter(|(_, job)| stopping(job)).min_by_key(|(_, job)| job.order);
        let Some((&parent, _)) = first else { return "0 0 false".to_owned() };
        let family = self.family(parent).expect("it stops children");
        let (verdict, after) = (family.verdict().expect("it stops children"), family.stop_after);
        let hard = matches!(family.stopping, Some("cancel" | "ended"));
        let mut page: Vec<(i64, JobNo)> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.parent == Some(parent) && job.order > after)
            .map(|(number, job)| (job.order, *number))
            .collect();
        page.sort_unstable();
        let family = self.family(parent).expect("it stops children");
        family.stop_after = page.last().map_or(after, |(order, _)| *order);
        family.stop_done = true;
        let (mut asked, mut queued) = (0, Vec::new());
        for (_, number) in page {
            let job = self.jobs.get_mut(&number).expect("listed");
            match job.place {
                Place::Line { .. } => queued.push(number),
                Place::Running { .. } if hard => asked += 1,
                _ => {}
            }
            if hard && job.place != Place::Ended {
                job.cancel = true;
                if let Some(family) = &mut job.family {
                    family.stop("cancel");
                }
            }
        }
        let ended = self.end_queued(&queued, verdict.0, verdict.1);
        format!("{ended} {asked} true")
    }

    fn pending(&self, number: JobNo) -> Result<(), &'static str> {
        match self.jobs.get(&number).map(|job| job.place) {
            None => Err("not found"),
            Some(Place::Pending) => Ok(()),
            Some(_) => Err("not pending"),
        }
    }

    pub fn approve(&mut self, number: JobNo) -> &'static str {
        if let Err(why) = self.pending(number) {
            return why;
        }
        self.jobs.get_mut(&number).expect("pending").approved = true;
        self.line_up(number);
        "done"
    }

    pub fn reject(&mut self, number: JobNo) -> &'static str {
        if let Err(why) = self.pending(number) {
            return why;
        }
        self.end_queued(&[number], "rejected", "rejected");
        "done"
    }

    pub fn expire(&mut self, age: i64) -> String {
        let before = self.now - age;
        let old = |job: &Job| job.place == Place::Pending && job.created_at < before;
        let jobs: Vec<JobNo> =
            self.jobs.iter().filter(|(_, job)| old(job)).map(|(number, _)| *number).collect();
        self.end_queued(&jobs, "rejected", "approval_expired").to_string()
    }

    pub fn reopen(&mut self, number: JobNo, cap: Option<i64>) -> String {
        let Some(job) = self.jobs.get(&number) else { return "not found".to_owned() };
        if job.parent.is_some() {
            return "child".to_owned();
        }
        let status = self.status(number);
        let again = |status: &str| matches!(status, "failed" | "budget_exceeded" | "cancelled");
        if !again(status) || (job.approval && !job.approved) {
            return format!("not ended {status}");
        }
        let mut tree = vec![number];
        let mut at = 0;
        while at < tree.len() {
            let parent = tree[at];
            tree.extend(self.jobs.iter().filter(|(_, j)| j.parent == Some(parent)).map(|(n, _)| *n));
            at += 1;
        }
        if tree.iter().any(|member| self.jobs[member].family.is_some()) {
            return "settling".to_owned();
        }
        if let Some(budget) = job.budget {
            let budget = self.budgets.get_mut(&budget).expect("it has one");
            budget.closed = false;
            budget.cap = cap.map_or(budget.cap, |cap| cap.max(budget.cap));
        }
        let (mut level, mut children) = (vec![number], 0);
        self.reopen_one(number);
        while !level.is_empty() {
            let mut below = Vec::new();
            for parent in level {
                let dead: Vec<JobNo> = self
                    .jobs
                    .iter()
                    .filter(|(n, job)| {
                        job.parent == Some(parent) && job.place == Place::Ended && again(self.status(**n))
                    })
                    .map(|(n, _)| *n)
                    .collect();
                if !dead.is_empty() {
                    let family = Family { held: true, ..Family::default() };
                    self.jobs.get_mut(&parent).expect("reopened").family = Some(family);
                }
                children += dead.len();
                dead.iter().for_each(|child| self.reopen_one(*child));
                below.extend(dead);
            }
            level = below;
        }
        format!("reopened {children}")
    }

    fn reopen_one(&mut self, number: JobNo) {
        let job = self.jobs.get_mut(&number).expect("it ended");
        job.reopened_run = job.past.last().expect("it ended").run;
        job.cancel = false;
        self.line_up(number);
    }
}

fn past(run: i64, outcome: &'static str, code: &'static str, attempts: i64, lost: i64) -> Past {
    Past { run, outcome, code, retry_at: None, attempts, lost, dead_letter: false }
}

/// Number, burnt attempts and losses in a row that a job's next run starts with.
fn next(job: &Job) -> (i64, i64, i64) {
    match job.past.last() {
        None => (1, 0, 0),
        Some(last) if job.reopened_run >= last.run => (last.run + 1, 0, 0),
        Some(last) => (last.run + 1, last.attempts, last.lost),
    }
}
