//! What was measured, and whether it meets its bar.

/// One figure of the report.
#[derive(Debug)]
pub(crate) struct Figure {
    what: String,
    /// Of each repetition.
    values: Vec<f64>,
    unit: &'static str,
    bar: Option<Bar>,
    note: String,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, values: Vec<f64>) -> Self {
        Self { what: what.into(), values, unit, bar: None, note: String::new() }
    }

    pub(crate) fn at_least(mut self, bar: f64) -> Self {
        self.bar = Some(Bar::AtLeast(bar));
        self
    }

    pub(crate) fn at_most(mut self, bar: f64) -> Self {
        self.bar = Some(Bar::AtMost(bar));
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn verdict(&self) -> String {
        let value = median(&self.values);
        let (met, bar) = match self.bar {
            None => return String::new(),
            Some(Bar::AtLeast(bar)) => (value >= bar, format!("≥ {bar}")),
            Some(Bar::AtMost(bar)) => (value <= bar, format!("≤ {bar}")),
        };
        format!("{bar}, {}", if met { "met" } else { "missed" })
    }
}

/// The middle value; of an even number the lower of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// Prints the table in Markdown, ready for RESULTS.md.
pub(crate) fn print(figures: &[Figure]) {
    println!("\n| figure | median | of | bar | note |\n|---|---|---|---|---|");
    for figure in figures {
        let all: Vec<String> = figure.values.iter().map(|value| short(*value)).collect();
        let all = if all.len() > 1 { all.join(", ") } else { String::new() };
        let (what, unit, value) = (&figure.what, figure.unit, short(median(&figure.values)));
        println!("| {what} | {value} {unit} | {all} | {} | {} |", figure.verdict(), figure.note);
    }
}

/// Whole numbers with their thousands, small ones with two digits.
pub(crate) fn short(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
