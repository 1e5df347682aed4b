//! Money in the model, and the model's state as lines to compare.

use super::model::{Call, Model, Place};
use super::step::{JobNo, Money, Run};

impl Model {
    /// (reserved, spent) of a budget, by looking at its calls.
    fn used(&self, budget: JobNo) -> (i64, i64) {
        let calls = self.calls.values().filter(|call| call.budget == budget);
        calls.fold((0, 0), |(reserved, spent), call| match call.state {
            "sent" => (reserved + call.worst, spent),
            _ => (reserved, spent + call.booked),
        })
    }

    pub fn money(&mut self, ops: &[Money]) -> Vec<String> {
        let mut answers = vec![String::new(); ops.len()];
        for (op, answer) in ops.iter().zip(&mut answers) {
            match op {
                Money::Settle { call, run, cost, key } => {
                    *answer = self.settle_call(*call, *run, *cost, *key);
                }
                Money::Unconfirmed { call, .. } => *answer = self.give_up(*call, "unconfirmed"),
                Money::Release { call, .. } => *answer = self.give_up(*call, "released"),
                Money::Reserve { .. } => {}
            }
        }
        let mut full: Vec<JobNo> = Vec::new();
        for (op, answer) in ops.iter().zip(&mut answers) {
            if let Money::Reserve { call, run, worst } = op {
                *answer = self.reserve(*call, *run, *worst, &mut full).to_owned();
                self.next_call = self.next_call.max(call + 1);
            }
        }
        answers
    }

    fn reserve(&mut self, call: u64, run: Run, worst: i64, full: &mut Vec<JobNo>) -> &'static str {
        if let Some(known) = self.calls.get(&call) {
            return if known.state == "sent" { "Reserved" } else { "AlreadyEnded" };
        }
        if !self.holds(run) {
            return "Stale";
        }
        let Some(budget) = self.jobs[&run.0].budget else { return "Unknown" };
        let (reserved, spent) = self.used(budget);
        let row = self.budgets.get_mut(&budget).expect("it has one");
        if row.closed {
            return "Refused";
        }
        if full.contains(&budget) {
            return "Wait";
        }
        if spent + reserved + worst > row.cap {
            if reserved == 0 {
                row.closed = true;
                return "Refused";
            }
            full.push(budget);
            return "Wait";
        }
        self.calls.insert(call, Call { run, budget, worst, state: "sent", booked: 0 });
        "Reserved"
    }

    fn settle_call(&mut self, call: u64, run: Run, cost: i64, key: Option<u8>) -> String {
        let live = self.holds(run);
        let Some(row) = self.calls.get_mut(&call) else { return "Unknown".to_owned() };
        if row.state == "settled" {
            return "AlreadyEnded".to_owned();
        }
        (row.state, row.booked) = ("settled", cost);
        let (excess, budget) = (cost > row.worst, row.budget);
        if excess {
            let budget = self.budgets.get_mut(&budget).expect("it has one");
            (budget.closed, budget.excess) = (true, true);
        }
        let key = key.filter(|_| live);
        if let Some(key) = key {
            let job = self.jobs.get_mut(&run.0).expect("it is live");
            job.journal.entry(key).or_insert(run.1);
        }
        format!("Settled {{ journaled: {}, excess: {excess} }}", key.is_some())
    }

    fn give_up(&mut self, call: u64, state: &'static str) -> String {
        let Some(row) = self.calls.get_mut(&call) else { return "Unknown".to_owned() };
        if row.state != "sent" {
            return "AlreadyEnded".to_owned();
        }
        row.state = state;
        row.booked = if state == "unconfirmed" { row.worst } else { 0 };
        if state == "unconfirmed" { "Unconfirmed".to_owned() } else { "Released".to_owned() }
    }

    /// Everything that the databases must agree with.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (number, job) in &self.jobs {
            lines.push(format!("job|{number}|{}|{}|{}", self.status(*number), job.reopened_run, job.cancel));
            let next = format!("{}|{}|{}", job.run, job.attempts, job.lost);
            match job.place {
                Place::Line { run_at, scheduled } => {
                    let table = if scheduled { "scheduled" } else { "ready" };
                    let pair = format!("{}|{}|{}", job.priority, job.workload, job.owner);
                    lines.push(format!("{table}|{number}|{pair}|{run_at}|{next}"));
                }
                Place::Running { worker, started_at } => {
                    lines.push(format!("running|{number}|w{worker}|{started_at}|{next}"));
                }
                _ => {}
            }
            for end in &job.past {
                let at = end.retry_at.map_or(String::new(), |at| at.to_string());
                let counts = format!("{}|{}", end.attempts, end.lost);
                let letter = end.dead_letter;
                lines.push(format!(
                    "run|{number}|{}|{}|{}|{at}|{counts}|{letter}",
                    end.run, end.outcome, end.code
                ));
            }
            if let Some(family) = &job.family {
                let open = self.open_children(*number) + usize::from(family.held);
                let (why, done) = (family.stopping.unwrap_or(""), family.stop_done);
                lines.push(format!("parent|{number}|{open}|{}|{}|{why}|{done}", family.held, family.dead));
            }
            lines.extend(job.result.map(|run| format!("result|{number}|{run}")));
            lines.extend(job.checkpoint.map(|(run, state)| format!("checkpoint|{number}|{run}|{state}")));
            lines.extend(job.journal.iter().map(|(key, run)| format!("journal|{number}|k{key}|{run}")));
        }
        for (number, worker) in &self.workers {
            lines.push(format!("worker|w{number}|{}|{}", worker.state, worker.beat));
        }
        for (number, budget) in &self.budgets {
            let (reserved, spent) = self.used(*number);
            lines.push(format!("budget|{number}|{}|{reserved}|{spent}|{}", budget.cap, budget.closed));
        }
        for (number, call) in &self.calls {
            let (job, run) = call.run;
            lines.push(format!("call|{number}|{job}|{run}|{}|{}|{}", call.state, call.worst, call.booked));
        }
        lines.sort_unstable();
        lines
    }
}
