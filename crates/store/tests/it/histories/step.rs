//! The steps of a history, and how they are chosen.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

use super::model::{Model, Place};

/// A job, a worker, a call: by number, the same in both databases.
pub type JobNo = u64;
pub type WorkerNo = u64;
pub type CallNo = u64;

/// A job's run.
pub type Run = (JobNo, i64);

#[derive(Clone, Debug)]
pub struct SubmitJob {
    pub job: JobNo,
    pub owner: i64,
    pub workload: &'static str,
    pub priority: u8,
    /// µs from now.
    pub delay: i64,
    pub cap: Option<i64>,
    pub key: Option<(u8, u8)>,
    pub approval: bool,
}

#[derive(Clone, Debug)]
pub enum RunEnd {
    Complete,
    Budget,
    /// After so many µs.
    Retry(i64),
    Fail(bool),
    Cancel,
    Release,
    Await,
    Lost(Option<i64>),
}

#[derive(Clone, Debug)]
pub enum Money {
    Reserve { call: CallNo, run: Run, worst: i64 },
    Settle { call: CallNo, run: Run, cost: i64, key: Option<u8> },
    Unconfirmed { call: CallNo, run: Run },
    Release { call: CallNo, run: Run },
}

#[derive(Clone, Debug)]
pub enum Step {
    Submit(Vec<SubmitJob>),
    Claim {
        worker: WorkerNo,
        slots: usize,
        cap: Option<u32>,
    },
    /// What a worker holds and doesn't know of is given back.
    Recover {
        worker: WorkerNo,
        known: Vec<Run>,
    },
    End(Vec<(Run, RunEnd)>),
    AddChildren {
        run: Run,
        children: Vec<(JobNo, u8)>,
    },
    StopChildren,
    Cancel(JobNo),
    Approve(JobNo),
    Reject(JobNo),
    /// Jobs older than so many µs.
    ExpireApprovals(i64),
    Reopen {
        job: JobNo,
        cap: Option<i64>,
    },
    Schedule,
    Beat(WorkerNo),
    Bury {
        worker: WorkerNo,
        seen: i64,
    },
    Register(WorkerNo),
    Rescue,
    Boot,
    Disable {
        owner: i64,
        on: bool,
    },
    Money(Vec<Money>),
    /// What a run finds of the answers that were paid for.
    Journal(JobNo),
    Checkpoint {
        run: Run,
        state: u64,
        covered: Vec<u8>,
    },
    /// Wall time goes on, or jumps (µs).
    Time {
        by: i64,
        jump: bool,
    },
}

/// What strikes a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// Before the n-th statement, at the latest before the commit: nothing of it is kept.
    Crash(usize),
    /// Committed, but nobody hears of it.
    LostReply,
}

pub struct Dice<'a>(pub &'a mut ChaCha8Rng);

impl Dice<'_> {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        let at = usize::try_from(self.below(items.len() as u64)).ok()?;
        items.get(at).cloned()
    }

    fn int(&mut self, n: u64) -> i64 {
        i64::try_from(self.below(n)).unwrap()
    }
}

/// The next step and what strikes it. Some steps make no sense where the model is: they must be refused in the same way
/// everywhere.
pub fn random(rng: &mut ChaCha8Rng, model: &Model) -> (Step, Fault) {
    let mut dice = Dice(rng);
    let step = choose(&mut dice, model);
    let fault = match dice.below(20) {
        0..3 => Fault::Crash(usize::try_from(dice.below(14)).unwrap()),
        3 => Fault::LostReply,
        _ => Fault::None,
    };
    (step, fault)
}

fn choose(dice: &mut Dice<'_>, model: &Model) -> Step {
    let worker = model.workers.len() as u64 - 1 - dice.below(2).min(model.workers.len() as u64 - 1);
    match dice.below(102) {
        0..14 => submit(dice, model),
        14..32 => {
            let cap = dice.one_in(4).then(|| u32::try_from(1 + dice.below(3)).unwrap());
            Step::Claim { worker, slots: usize::try_from(1 + dice.below(5)).unwrap(), cap }
        }
        32..50 => end(dice, model),
        50..58 => add_children(dice, model),
        58..61 => Step::StopChildren,
        61..65 => Step::Cancel(any_job(dice, model)),
        65..67 => Step::Approve(job_where(dice, model, |m, n| m.jobs[&n].place == Place::Pending)),
        67 => Step::Reject(job_where(dice, model, |m, n| m.jobs[&n].place == Place::Pending)),
        68 => Step::ExpireApprovals(dice.int(30_000_000)),
        69..73 => {
            let job = job_where(dice, model, |m, n| {
                m.jobs[&n].parent.is_none() && m.jobs[&n].place == Place::Ended
            });
            Step::Reopen { job, cap: dice.one_in(2).then(|| 50 + dice.int(200)) }
        }
        73..76 => Step::Schedule,
        76..78 => Step::Beat(worker),
        78..80 => {
            let beat = model.workers[&worker].beat;
            Step::Bury { worker, seen: if dice.one_in(3) { beat - 1 } else { beat } }
        }
        80 => Step::Register(model.workers.len() as u64),
        81..83 => Step::Rescue,
        83 => {
            if dice.one_in(3) {
                Step::Boot
            } else {
                Step::Recover { worker, known: known(model, worker) }
            }
        }
        84 => Step::Disable { owner: 1 + dice.int(3), on: dice.one_in(2) },
        85..93 => money(dice, model),
        93..96 => {
            let covered = (0..3).filter(|_| dice.one_in(2)).collect();
            Step::Checkpoint { run: any_run(dice, model), state: dice.below(1000), covered }
        }
        96..98 => Step::Journal(job_where(dice, model, |m, n| !m.jobs[&n].journal.is_empty())),
        _ => {
            let jump = dice.one_in(4);
            let by = dice.int(20_000_000);
            Step::Time { by: if jump && dice.one_in(2) { -by } else { by }, jump }
        }
    }
}

fn known(model: &Model, worker: WorkerNo) -> Vec<Run> {
    model.known.iter().filter(|(_, holder)| *holder == worker).map(|(run, _)| *run).collect()
}

fn submit(dice: &mut Dice<'_>, model: &Model) -> Step {
    let count = 1 + dice.below(4);
    let jobs = (0..count).map(|n| {
        // now and then an id that is there already: a reply was lost
        let again = dice.one_in(10) && !model.submitted.is_empty();
        if again {
            return dice.pick(&model.submitted).expect("not empty");
        }
        SubmitJob {
            job: model.next_job + n,
            owner: 1 + dice.int(3),
            workload: if dice.one_in(3) { "v" } else { "w" },
            priority: if dice.one_in(3) { u8::try_from(dice.below(3)).unwrap() } else { 1 },
            delay: if dice.one_in(5) { dice.int(15_000_000) } else { 0 },
            cap: dice.one_in(2).then(|| dice.int(120)),
            key: dice
                .one_in(4)
                .then(|| (u8::try_from(dice.below(3)).unwrap(), u8::try_from(dice.below(2)).unwrap())),
            approval: dice.one_in(8),
        }
    });
    Step::Submit(jobs.collect())
}

fn any_job(dice: &mut Dice<'_>, model: &Model) -> JobNo {
    // sometimes one that doesn't exist
    1 + dice.below(model.next_job)
}

fn job_where(dice: &mut Dice<'_>, model: &Model, fits: impl Fn(&Model, JobNo) -> bool) -> JobNo {
    let jobs: Vec<JobNo> = model.jobs.keys().copied().filter(|n| fits(model, *n)).collect();
    match dice.pick(&jobs) {
        Some(job) if !dice.one_in(8) => job,
        _ => any_job(dice, model),
    }
}

/// A run that some worker believes to hold, rightly or not; rarely one that never was.
fn any_run(dice: &mut Dice<'_>, model: &Model) -> Run {
    let runs: Vec<Run> = model.known.iter().map(|(run, _)| *run).collect();
    match dice.pick(&runs) {
        Some(run) if !dice.one_in(20) => run,
        _ => (any_job(dice, model), 1 + dice.int(3)),
    }
}

fn end(dice: &mut Dice<'_>, model: &Model) -> Step {
    let count = 1 + dice.below(3);
    let ends = (0..count).map(|_| {
        let run = any_run(dice, model);
        let is_parent = model.jobs.get(&run.0).is_some_and(|job| job.family.is_some());
        let end = match dice.below(if is_parent { 22 } else { 16 }) {
            0..8 => RunEnd::Complete,
            8 => RunEnd::Budget,
            9 => RunEnd::Retry(dice.int(8_000_000)),
            10 => RunEnd::Fail(dice.one_in(2)),
            11 => RunEnd::Cancel,
            12 => RunEnd::Release,
            13 => RunEnd::Lost(dice.one_in(2).then_some(2)),
            14 => RunEnd::Retry(0),
            _ => RunEnd::Await,
        };
        (run, end)
    });
    Step::End(ends.collect())
}

fn add_children(dice: &mut Dice<'_>, model: &Model) -> Step {
    let run = any_run(dice, model);
    let count = 1 + dice.below(3);
    let children = (0..count).map(|n| (model.next_job + n, u8::try_from(dice.below(5)).unwrap()));
    Step::AddChildren { run, children: children.collect() }
}

fn money(dice: &mut Dice<'_>, model: &Model) -> Step {
    let count = 1 + dice.below(3);
    let ops = (0..count).map(|n| {
        let open: Vec<CallNo> = model.calls.keys().copied().collect();
        let new = dice.one_in(2) || open.is_empty();
        if new {
            let priced: Vec<Run> =
                model.known.iter().map(|(run, _)| *run).filter(|run| model.is_priced(*run)).collect();
            let run = dice.pick(&priced).unwrap_or_else(|| any_run(dice, model));
            return Money::Reserve { call: model.next_call + n, run, worst: 1 + dice.int(60) };
        }
        let call = dice.pick(&open).expect("not empty");
        let (run, worst) = (model.calls[&call].run, model.calls[&call].worst);
        match dice.below(8) {
            0 => Money::Unconfirmed { call, run },
            1 => Money::Release { call, run },
            2 => Money::Reserve { call, run, worst },
            n => {
                let cost =
                    if dice.one_in(15) { worst + 5 } else { dice.int(u64::try_from(worst).unwrap() + 1) };
                let key = (n > 3).then(|| u8::try_from(dice.below(3)).unwrap());
                Money::Settle { call, run, cost, key }
            }
        }
    });
    Step::Money(ops.collect())
}
