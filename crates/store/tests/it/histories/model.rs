//! The engine in memory: what the statements mean, written down a second time in the simplest way. Where the databases
//! count (open children, reserved money), the model looks.

use std::collections::{BTreeMap, BTreeSet};

use super::step::{CallNo, JobNo, Run, RunEnd, Step, SubmitJob, WorkerNo};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Pending,
    Line { run_at: i64, scheduled: bool },
    Running { worker: WorkerNo, started_at: i64 },
    Waiting,
    Ended,
}

#[derive(Clone, Debug)]
pub struct Past {
    pub run: i64,
    pub outcome: &'static str,
    pub code: &'static str,
    pub retry_at: Option<i64>,
    pub attempts: i64,
    pub lost: i64,
    pub dead_letter: bool,
}

/// What a job with children keeps while it has some that have not ended, or while it may still make some.
#[derive(Clone, Debug, Default)]
pub struct Family {
    pub held: bool,
    pub dead: i64,
    pub stopping: Option<&'static str>,
    pub stop_after: i64,
    pub stop_done: bool,
}

#[derive(Clone, Debug)]
pub struct Job {
    /// Order of insertion: what `seq` is in the databases.
    pub order: i64,
    pub owner: i64,
    pub workload: &'static str,
    pub priority: u8,
    pub run_at: i64,
    pub created_at: i64,
    pub parent: Option<JobNo>,
    pub child_key: Option<u8>,
    pub budget: Option<JobNo>,
    pub key: Option<(u8, u8)>,
    pub approval: bool,
    pub approved: bool,
    pub cancel: bool,
    pub reopened_run: i64,
    pub place: Place,
    /// Of the run that is in line or running: number, attempts, lost.
    pub run: i64,
    pub attempts: i64,
    pub lost: i64,
    pub past: Vec<Past>,
    pub result: Option<i64>,
    pub checkpoint: Option<(i64, u64)>,
    /// Key → the run that wrote it.
    pub journal: BTreeMap<u8, i64>,
    pub family: Option<Family>,
}

#[derive(Clone, Debug)]
pub struct Worker {
    pub beat: i64,
    pub state: &'static str,
}

#[derive(Clone, Debug)]
pub struct Budget {
    pub cap: i64,
    pub closed: bool,
    /// A provider billed more than was reserved.
    pub excess: bool,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub run: Run,
    pub budget: JobNo,
    pub worst: i64,
    pub state: &'static str,
    pub booked: i64,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub now: i64,
    pub tick: i64,
    pub epoch: i64,
    pub jobs: BTreeMap<JobNo, Job>,
    pub workers: BTreeMap<WorkerNo, Worker>,
    pub budgets: BTreeMap<JobNo, Budget>,
    pub calls: BTreeMap<CallNo, Call>,
    pub disabled: BTreeSet<i64>,
    /// Runs that workers believe to hold.
    pub known: Vec<(Run, WorkerNo)>,
    pub submitted: Vec<SubmitJob>,
    pub next_job: JobNo,
    pub next_call: CallNo,
    /// How often in a row a pair with something in line was passed over, a worker.
    pub passed: BTreeMap<(WorkerNo, u8, &'static str, i64), u32>,
}

pub const START: i64 = 1_767_225_600_000_000;

impl Model {
    pub fn new() -> Self {
        let mut model = Self {
            now: START,
            tick: 0,
            epoch: 0,
            jobs: BTreeMap::new(),
            workers: BTreeMap::new(),
            budgets: BTreeMap::new(),
            calls: BTreeMap::new(),
            disabled: BTreeSet::new(),
            known: Vec::new(),
            submitted: Vec::new(),
            next_job: 1,
            next_call: 1,
            passed: BTreeMap::new(),
        };
        model.workers.insert(0, Worker { beat: 0, state: "live" });
        model
    }

    pub fn is_priced(&self, run: Run) -> bool {
        self.jobs.get(&run.0).is_some_and(|job| job.budget.is_some())
    }

    /// Each step takes a moment; marks of low water never outlive one, so that both databases go round in the same order.
    pub fn pass_time(&mut self, step: &Step) {
        let (wall, tick) = match step {
            Step::Time { by, jump: false } => (*by, *by),
            Step::Time { by, jump: true } => (*by, 0),
            _ => (1, 0),
        };
        self.now += wall;
        self.tick += tick + 1_000_000;
    }

    /// Does the step; gives the answer that the databases must have given.
    pub fn apply(&mut self, step: &Step, answer: &[String], heard: bool) -> Result<Vec<String>, String> {
        let one = |text: &str| Ok(vec![text.to_owned()]);
        match step {
            Step::Submit(jobs) => Ok(jobs.iter().map(|job| self.submit(job)).collect()),
            Step::Claim { worker, slots, cap } => self.check_claim(*worker, *slots, *cap, answer, heard),
            Step::Recover { worker, known } => Ok(self.recover(*worker, known)),
            Step::End(ends) => {
                let answers = self.end_runs(ends);
                if heard {
                    self.known.retain(|(run, _)| !ends.iter().any(|(ended, _)| ended == run));
                }
                Ok(answers)
            }
            Step::AddChildren { run, children } => one(&self.add_children(*run, children)),
            Step::StopChildren => one(&self.stop_children()),
            Step::Cancel(job) => one(&self.cancel(*job)),
            Step::Approve(job) => one(self.approve(*job)),
            Step::Reject(job) => one(self.reject(*job)),
            Step::ExpireApprovals(age) => one(&self.expire(*age)),
            Step::Reopen { job, cap } => one(&self.reopen(*job, *cap)),
            Step::Schedule => one(&self.schedule()),
            Step::Beat(worker) => one(self.beat(*worker)),
            Step::Bury { worker, seen } => one(self.bury(*worker, *seen)),
            Step::Register(worker) => {
                self.workers.insert(*worker, Worker { beat: 0, state: "live" });
                one("ok")
            }
            Step::Rescue => Ok(self.rescue()),
            Step::Boot => {
                self.epoch += 1;
                let epoch = self.epoch;
                self.workers.values_mut().filter(|w| w.state == "live").for_each(|w| w.state = "dead");
                one(&format!("epoch {epoch}"))
            }
            Step::Disable { owner, on } => {
                if *on {
                    self.disabled.insert(*owner)
                } else {
                    self.disabled.remove(owner)
                };
                one("ok")
            }
            Step::Money(ops) => Ok(self.money(ops)),
            Step::Journal(job) => Ok(self.journal(*job)),
            Step::Checkpoint { run, state, covered } => one(self.checkpoint(*run, *state, covered)),
            Step::Time { .. } => one("ok"),
        }
    }

    fn submit(&mut self, new: &SubmitJob) -> String {
        if self.jobs.contains_key(&new.job) {
            let same = match (new.key, self.jobs[&new.job].key) {
                (Some(key), Some(found)) => key.1 == found.1,
                _ => true,
            };
            return format!("{} {}", if same { "reused" } else { "conflict" }, new.job);
        }
        let taken = self.jobs.iter().find(|(_, job)| {
            job.owner == new.owner && job.key.is_some() && job.key.map(|k| k.0) == new.key.map(|k| k.0)
        });
        if let Some((number, job)) = taken {
            let same = job.key == new.key;
            return format!("{} {number}", if same { "reused" } else { "conflict" });
        }
        let run_at = self.now + new.delay;
        let line = Place::Line { run_at, scheduled: new.delay > 0 };
        let budget = new.cap.map(|cap| {
            self.budgets.insert(new.job, Budget { cap, closed: false, excess: false });
            new.job
        });
        let place = if new.approval { Place::Pending } else { line };
        self.insert(new.job, |job| Job {
            owner: new.owner,
            workload: new.workload,
            priority: new.priority,
            run_at,
            budget,
            key: new.key,
            approval: new.approval,
            place,
            ..job
        });
        self.submitted.push(new.clone());
        format!("created {}", new.job)
    }

    pub fn insert(&mut self, number: JobNo, fill: impl FnOnce(Job) -> Job) {
        let order = self.jobs.values().map(|job| job.order).max().unwrap_or(0) + 1;
        let empty = Job {
            order,
            owner: 0,
            workload: "w",
            priority: 1,
            run_at: self.now,
            created_at: self.now,
            parent: None,
            child_key: None,
            budget: None,
            key: None,
            approval: false,
            approved: false,
            cancel: false,
            reopened_run: 0,
            place: Place::Ended,
            run: 1,
            attempts: 0,
            lost: 0,
            past: Vec::new(),
            result: None,
            checkpoint: None,
            journal: BTreeMap::new(),
            family: None,
        };
        self.jobs.insert(number, fill(empty));
        self.next_job = self.next_job.max(number + 1);
    }

    /// Whether the run holds its job.
    pub fn holds(&self, run: Run) -> bool {
        let job = self.jobs.get(&run.0);
        job.is_some_and(|job| matches!(job.place, Place::Running { .. }) && job.run == run.1)
    }

    pub fn status(&self, number: JobNo) -> &'static str {
        let job = &self.jobs[&number];
        match job.place {
            Place::Pending => "pending_approval",
            Place::Line { .. } => "queued",
            Place::Running { .. } => "running",
            Place::Waiting => "waiting",
            Place::Ended => job.past.last().expect("what has ended has a past").outcome,
        }
    }

    fn recover(&mut self, worker: WorkerNo, known: &[Run]) -> Vec<String> {
        let held = self.jobs.iter().filter_map(|(number, job)| match job.place {
            Place::Running { worker: holder, .. } if holder == worker => Some((*number, job.run)),
            _ => None,
        });
        let mut unknown: Vec<Run> = held.filter(|run| !known.contains(run)).collect();
        unknown.sort_by_key(|run| self.jobs[&run.0].order);
        let ends: Vec<(Run, RunEnd)> = unknown.into_iter().map(|run| (run, RunEnd::Release)).collect();
        self.end_runs(&ends)
    }

    fn schedule(&mut self) -> String {
        let mut moved = 0;
        for job in self.jobs.values_mut() {
            if let Place::Line { run_at, scheduled: true } = job.place
                && run_at <= self.now
            {
                job.place = Place::Line { run_at, scheduled: false };
                moved += 1;
            }
        }
        format!("moved {moved}")
    }

    fn beat(&mut self, worker: WorkerNo) -> &'static str {
        let worker = self.workers.get_mut(&worker).expect("registered");
        if worker.state != "live" {
            return "dead";
        }
        worker.beat += 1;
        "alive"
    }

    fn bury(&mut self, worker: WorkerNo, seen: i64) -> &'static str {
        let worker = self.workers.get_mut(&worker).expect("registered");
        if worker.state != "live" || worker.beat != seen {
            return "false";
        }
        worker.state = "dead";
        "true"
    }

    fn rescue(&mut self) -> Vec<String> {
        let workers = &self.workers;
        let mut lost: Vec<(i64, Run)> = self
            .jobs
            .iter()
            .filter_map(|(number, job)| match job.place {
                Place::Running { worker, .. } if workers[&worker].state != "live" => {
                    Some((job.order, (*number, job.run)))
                }
                _ => None,
            })
            .collect();
        lost.sort_unstable();
        let ends: Vec<(Run, RunEnd)> = lost.iter().map(|(_, run)| (*run, RunEnd::Lost(None))).collect();
        self.end_runs(&ends);
        lost.into_iter().map(|(_, run)| format!("{run:?}")).collect()
    }

    fn journal(&self, job: JobNo) -> Vec<String> {
        self.jobs
            .get(&job)
            .into_iter()
            .flat_map(|job| job.journal.keys())
            .map(|key| format!("k{key}"))
            .collect()
    }

    fn checkpoint(&mut self, run: Run, state: u64, covered: &[u8]) -> &'static str {
        if !self.holds(run) {
            return "stale";
        }
        let job = self.jobs.get_mut(&run.0).expect("it holds it");
        job.checkpoint = Some((run.1, state));
        job.journal.retain(|key, _| !covered.contains(key));
        "applied"
    }
}
