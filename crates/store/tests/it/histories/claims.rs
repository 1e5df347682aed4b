//! Whether a claim is fair and complete. Which of several right answers it gives is its own affair.

use std::collections::BTreeMap;

use super::model::{Model, Place};
use super::step::{JobNo, Run, WorkerNo};

type Pair = (u8, &'static str, i64);

impl Model {
    /// Jobs that may be claimed, first in line first, by priority, workload and owner.
    fn line(&self) -> BTreeMap<Pair, Vec<JobNo>> {
        let mut line: BTreeMap<Pair, Vec<(i64, i64, JobNo)>> = BTreeMap::new();
        for (number, job) in &self.jobs {
            if let Place::Line { run_at, scheduled: false } = job.place
                && !self.disabled.contains(&job.owner)
            {
                let pair = (job.priority, job.workload, job.owner);
                line.entry(pair).or_default().push((run_at, job.order, *number));
            }
        }
        let sorted = |mut jobs: Vec<(i64, i64, JobNo)>| {
            jobs.sort_unstable();
            jobs.into_iter().map(|(_, _, number)| number).collect()
        };
        line.into_iter().map(|(pair, jobs)| (pair, sorted(jobs))).collect()
    }

    fn room(&self, owner: i64, cap: Option<u32>) -> usize {
        let running =
            |job: &&super::model::Job| job.owner == owner && matches!(job.place, Place::Running { .. });
        let count = self.jobs.values().filter(running).count();
        cap.map_or(usize::MAX, |cap| usize::try_from(cap).unwrap().saturating_sub(count))
    }

    pub fn check_claim(
        &mut self,
        worker: WorkerNo,
        slots: usize,
        cap: Option<u32>,
        answer: &[String],
        heard: bool,
    ) -> Result<Vec<String>, String> {
        let line = self.line();
        let taken: Vec<JobNo> =
            answer.iter().map(|text| text.split(' ').next().unwrap().parse().unwrap()).collect();
        let mut by_pair: BTreeMap<Pair, Vec<JobNo>> = BTreeMap::new();
        for number in &taken {
            let job = &self.jobs[number];
            by_pair.entry((job.priority, job.workload, job.owner)).or_default().push(*number);
        }
        for (pair, jobs) in &by_pair {
            let first = line.get(pair).map_or(&[][..], |jobs| jobs.as_slice());
            if !first.starts_with(jobs) {
                return Err(format!("{jobs:?} are not the first in line of {pair:?}: {first:?}"));
            }
        }
        let mut owners: BTreeMap<i64, usize> = BTreeMap::new();
        for ((_, _, owner), jobs) in &line {
            *owners.entry(*owner).or_default() += jobs.len();
        }
        let possible: usize = owners.iter().map(|(owner, count)| (*count).min(self.room(*owner, cap))).sum();
        if taken.len() != possible.min(slots) {
            return Err(format!("{} of {possible} were claimed with {slots} slots", taken.len()));
        }
        for (owner, room) in owners.keys().map(|owner| (*owner, self.room(*owner, cap))) {
            let count = taken.iter().filter(|number| self.jobs[number].owner == owner).count();
            if count > room {
                return Err(format!("owner {owner} has {count} more runs, its cap allows {room}"));
            }
        }
        if cap.is_none() {
            self.check_fairness(worker, &line, &by_pair)?;
        }
        let now = self.now;
        Ok(taken.iter().map(|number| self.start(*number, worker, now, heard)).collect())
    }

    /// High before low; within a priority nobody gets three while another who has something in line gets none; nobody is
    /// passed over for ever.
    fn check_fairness(
        &mut self,
        worker: WorkerNo,
        line: &BTreeMap<Pair, Vec<JobNo>>,
        taken: &BTreeMap<Pair, Vec<JobNo>>,
    ) -> Result<(), String> {
        let count = |pair: &Pair| taken.get(pair).map_or(0, Vec::len);
        for (pair, jobs) in line {
            let left = jobs.len() > count(pair);
            let lower = taken.keys().any(|other| other.0 > pair.0);
            if left && lower {
                return Err(format!("a lower priority was claimed before {pair:?}"));
            }
            let most = taken.iter().filter(|(other, _)| other.0 == pair.0).map(|(_, jobs)| jobs.len()).max();
            if left && most.unwrap_or(0) > count(pair) + 2 {
                return Err(format!("{pair:?} got {} while another got {most:?}", count(pair)));
            }
            let passed = self.passed.entry((worker, pair.0, pair.1, pair.2)).or_default();
            if count(pair) > 0 || most.is_none() {
                *passed = 0;
            } else {
                *passed += 1;
                if *passed > 6 {
                    return Err(format!("{pair:?} was passed over {passed} times in a row"));
                }
            }
        }
        self.passed.retain(|(by, priority, workload, owner), _| {
            *by != worker || line.contains_key(&(*priority, *workload, *owner))
        });
        Ok(())
    }

    fn start(&mut self, number: JobNo, worker: WorkerNo, now: i64, heard: bool) -> String {
        let job = self.jobs.get_mut(&number).expect("claimed");
        job.place = Place::Running { worker, started_at: now };
        let run: Run = (number, job.run);
        if heard {
            self.known.push((run, worker));
        }
        let job = &self.jobs[&number];
        let state = job.checkpoint.map_or("none".to_owned(), |(_, state)| state.to_string());
        let budget = job.budget.map_or(0, |budget| budget);
        format!("{number} {} {} {} {budget} {state} {}", job.run, job.attempts, job.lost, job.cancel)
    }
}
